package control

import (
	"time"

	"vigil/internal/pubkey"
)

// Key is the public side of one key.
type Key struct {
	ID           string     `json:"id,omitempty"`       // item id, base64url; empty for a key added by ssh-add
	Revision     string     `json:"revision,omitempty"` // base64url
	Vault        string     `json:"vault,omitempty"`    // empty for a key added by ssh-add
	Name         string     `json:"name,omitempty"`
	Comment      string     `json:"comment"`
	Type         string     `json:"type"`                  // SSH key type, such as "ssh-ed25519"
	Bits         int        `json:"bits"`                  // as ssh-add -l shows them
	Fingerprint  string     `json:"fingerprint"`           // "SHA256:…"
	PublicKey    string     `json:"public_key,omitempty"`  // "type base64", without a comment
	Certificate  string     `json:"certificate,omitempty"` // "type base64"
	ValidUntil   *time.Time `json:"valid_until,omitempty"` // end of Certificate's validity; none: forever
	Created      *time.Time `json:"created,omitempty"`
	Expires      *time.Time `json:"expires,omitempty"` // lifetime of an added key
	Confirm      bool       `json:"confirm,omitempty"`
	Approve      string     `json:"approve,omitempty"`    // which uses a person is asked for, by the key or else its vault; "": forwarded
	AllowSHA1    bool       `json:"allow_sha1,omitempty"` // RSA signatures with SHA-1
	Hosts        []string   `json:"hosts,omitempty"`
	Tags         []string   `json:"tags,omitempty"`
	Destinations []string   `json:"destinations,omitempty"` // in the syntax of ssh-add -h
	Heads        int        `json:"heads,omitempty"`        // >1: edited on two devices, see `edit`
	State        KeyState   `json:"state,omitempty"`
	Problem      string     `json:"problem,omitempty"`
}

// Shorten drops what doesn't fit on a line, more than half of a long list: ids, the
// public key, hosts, tags and the creation time.
func (k *Key) Shorten() {
	k.ID, k.Revision, k.PublicKey, k.Hosts, k.Tags, k.Created = "", "", "", nil, nil, nil
}

// CertificateExpired reports whether the key has a certificate that is no longer valid.
func (k *Key) CertificateExpired() bool {
	return k.ValidUntil != nil && !time.Now().Before(*k.ValidUntil)
}

// PublicKey describes a public key in the SSH wire encoding, from the blob alone.
func PublicKey(blob []byte) Key {
	return Key{Type: pubkey.Type(blob), Bits: pubkey.Bits(blob), Fingerprint: pubkey.SHA256(blob), PublicKey: pubkey.AuthorizedKey(blob, "")}
}

// KeyState says what a key can do; empty: usable.
type KeyState string

// The states of a key.
const (
	KeyUsable   KeyState = ""
	KeyLocked   KeyState = "locked"   // its vault is locked
	KeyPending  KeyState = "pending"  // saved on this device only
	KeyDamaged  KeyState = "damaged"  // Problem says how
	KeyOutdated KeyState = "outdated" // signs; a newer revision is missing from the vault file
	KeyHeld     KeyState = "held"     // doesn't sign, because of a stricter or a lost revision; Problem says more
	KeyShadowed KeyState = "shadowed" // the same key was added with ssh-add
)
