package conformance

// A difference is an answer that Vigil gives on purpose where OpenSSH gives
// another. Each is told to the user in docs/agent-protocol.md.
type difference struct {
	answer string // Vigil's
	why    string
}

const (
	sha1      = "SHA-1 signatures can be forged; no server of this decade needs them"
	flags     = "RFC 9987: a request with flags that are not known is refused"
	together  = "signing with halves of two keys gives the private one away, so they are compared"
	oneSense  = "one meaning, one encoding: bytes left over are a mistake or an attack"
	plainAdd  = "RFC 9987: only the constrained message carries constraints"
	firstName = "10.4 and 10.5 made keys under this name; who has one can go on using it"
	noDevice  = "no device has such a key"
	lockStays = "one malformed message must not end the agent for everybody"
)

// stricter lists the differences by case and step. (One is not stricter: where
// releases of OpenSSH differ, Vigil takes what any of them takes.)
var stricter = map[string]difference{
	"signature flags: rsa, no flags":                   {"failure", sha1},
	"signature flags: rsa, unknown flag 1":             {"failure", flags},
	"signature flags: rsa, unknown flag 8":             {"failure", flags},
	"signature flags: rsa, SHA-512 and unknown flag 8": {"failure", flags},
	"signature flags: ed25519, unknown flag 8":         {"failure", flags},
	"bind to every type of host key: rsa, SHA-1":       {"extension failure", sha1},

	"certificate of another key: add p256":                                                      {"failure", together},
	"certificate of another key: add p384":                                                      {"failure", together},
	"certificate of another key: add p521":                                                      {"failure", together},
	"certificate of another key: add rsa":                                                       {"failure", together},
	"halves that don't belong together: add ed25519 with another's public half":                 {"failure", together},
	"halves that don't belong together: add p256 with another's public half":                    {"failure", together},
	"halves that don't belong together: add p384 with another's public half":                    {"failure", together},
	"halves that don't belong together: add p521 with another's public half":                    {"failure", together},
	"halves that don't belong together: add rsa with another's public half":                     {"failure", together},
	"halves that don't belong together: add ed25519 whose two copies of the public half differ": {"failure", together},

	"constraints on the plain add message: add": {"failure", plainAdd},

	"post-quantum key: add with halves that don't belong together":       {"failure", together},
	"post-quantum key: add with other halves that don't belong together": {"failure", together},
	"post-quantum key by its first name: add":                            {"success", firstName},
	"post-quantum key by its first name: list":                           {"1 keys [ssh-mldsa44-ed25519@openssh.com]", firstName},
	"post-quantum key by its first name: sign":                           {"signature ssh-mldsa44-ed25519@openssh.com, right", firstName},

	"post-quantum host key by its first name: bind": {"success", firstName},

	"session ids: 0 bytes":   {"extension failure", "no key exchange has an empty session id"},
	"session ids: 129 bytes": {"extension failure", "OpenSSH doesn't record it either, but says that it did"},

	"query: query with data":               {"extension failure", oneSense},
	"malformed binds: a flag of 2":         {"extension failure", oneSense},
	"malformed binds: bytes after it":      {"extension failure", oneSense},
	"malformed destinations: a flag of 2":  {"failure", oneSense},
	"list with bytes after it: list":       {"failure", oneSense},
	"list with bytes after it: remove all": {"failure", oneSense},
	"sign cut short: with bytes after it":  {"failure", oneSense},

	"remove cut short: with bytes after it": {"failure", oneSense},
	"remove cut short: list after that":     {"1 keys [ed25519]", oneSense},
	"lock with bytes after it: lock":        {"failure", oneSense},

	"malformed destinations: no constraints":            {"failure", "asked to restrict a key, OpenSSH adds it unrestricted"},
	"malformed destinations: list after no constraints": {"0 keys []", "it was not added"},

	"malformed keys in security keys: no handle":                      {"failure", noDevice},
	"malformed keys in security keys: no application":                 {"failure", noDevice},
	"malformed keys in security keys: a zero byte in the application": {"failure", noDevice},
	"malformed keys in security keys: list":                           {"0 keys []", noDevice},

	"malformed lock: lock without a passphrase":               {"failure", lockStays},
	"malformed lock, zero byte: lock with a zero byte inside": {"success", lockStays + "; any bytes are a passphrase"},
	"malformed unlock: unlock cut short":                      {"failure", lockStays},
}
