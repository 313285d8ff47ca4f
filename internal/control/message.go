// Package control is the control socket: the messages between vigilctl and vigild,
// their client and their server.
//
// The socket is $XDG_RUNTIME_DIR/vigil/control.sock. Each side first sends a hello
// with its build id. Then the client sends one request at a time, and the daemon
// sends one reply to each; before it, the daemon may ask questions (see Ask). A
// message is a 4-byte big-endian length and that many bytes of JSON. Decoding is
// strict: an unknown member, a second value or a missing file is an error.
//
// Messages never contain secrets. A passphrase or a private key file travels as a
// descriptor with its request (SCM_RIGHTS): vigild passes it to the opener and never
// reads it.
package control

import (
	"os"
	"time"
)

// VersionRequest asks for the daemon's version.
type VersionRequest struct {
	asks[VersionReply]
}

func (*VersionRequest) op() Op { return OpVersion }

// VersionReply describes the process that answers.
type VersionReply struct {
	Build   string `json:"build"`
	Version string `json:"version"` // release, such as "0.1.0"
	PID     int    `json:"pid"`
}

// StopRequest ends the daemon: it locks everything, replies and exits. The connection
// stays open until the process has ended (see Client.WaitGone).
type StopRequest struct {
	asks[StopReply]
}

func (*StopRequest) op() Op { return OpStop }

// StopReply lists what stopping locked.
type StopReply struct {
	PID    int      `json:"pid"`
	Locked []string `json:"locked,omitempty"` // vaults that were unlocked
}

// LockRequest ends the keeper of a vault; with an empty Vault, the keepers of all
// vaults and of the keys added by ssh-add.
type LockRequest struct {
	asks[LockReply]
	Vault string `json:"vault,omitempty"`
}

func (*LockRequest) op() Op { return OpLock }

// LockReply lists what was locked. Locking a locked vault isn't an error.
type LockReply struct {
	Locked      []string `json:"locked,omitempty"`       // vaults that were unlocked before
	RemovedKeys int      `json:"removed_keys,omitempty"` // removed keys that ssh-add had added
}

// ListRequest lists a vault's keys; with an empty Vault, all that the agent lists.
type ListRequest struct {
	asks[ListReply]
	Vault string `json:"vault,omitempty"`
	// Short leaves out what a list for people doesn't show: see [Key.Shorten].
	Short bool `json:"short,omitempty"`
}

func (*ListRequest) op() Op { return "list" }

// ListReply has the keys in the agent's order.
type ListReply struct {
	Keys []Key `json:"keys"`
}

// ShowRequest asks for one key. Here and in other requests, Key is a name, a prefix
// of an id or a SHA256 fingerprint, and an empty Vault means any vault.
type ShowRequest struct {
	asks[ShowReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key"`
}

func (*ShowRequest) op() Op { return "show" }

// ShowReply is one key, with all heads if it has several.
type ShowReply struct {
	Key   Key   `json:"key"`
	Heads []Key `json:"heads,omitempty"`
}

// KDF is Argon2id's cost. Zeros mean the defaults (256 MiB, 3, 4).
type KDF struct {
	MemoryMiB   uint32 `json:"memory_mib,omitempty"`
	Time        uint32 `json:"time,omitempty"`
	Parallelism uint32 `json:"parallelism,omitempty"`
}

// Saved is embedded in every reply to a change.
type Saved struct {
	Pending bool     `json:"pending,omitempty"` // saved on this device only: the backend was unreachable
	Notices []string `json:"notices,omitempty"` // sentences for the user
}

// Outcome returns s, also for every reply that embeds it.
func (s Saved) Outcome() Saved { return s }

// ReadyRequest asks whether a passphrase would be of use, before anyone types it: the
// daemon starts a keeper and an opener, and ends them. If a vault is named, it looks too
// whether its parts are there; if Create is set, whether it can be created. The other
// fields are then as in InitRequest.
type ReadyRequest struct {
	asks[ReadyReply]
	Create  bool   `json:"create,omitempty"`
	Vault   string `json:"vault,omitempty"`
	Master  string `json:"master,omitempty"`
	Backend string `json:"backend,omitempty"`
	New     bool   `json:"new,omitempty"` // a new passphrase is to be chosen, with KDF
	KDF     KDF    `json:"kdf,omitzero"`
}

func (*ReadyRequest) op() Op { return "ready" }

// ReadyReply says that nothing known prevents it. For a new passphrase, Guess is what each
// guess would cost whoever has this device's disk; zero: a guess takes the KMS.
type ReadyReply struct {
	Guess KDF `json:"guess,omitzero"`
}

// InitRequest makes a vault. An empty Vault is the config's first; an empty Master or
// Backend is the config's, or the local one.
type InitRequest struct {
	asks[InitReply]
	Vault   string `json:"vault,omitempty"`
	Master  string `json:"master,omitempty"`  // "local" or awskms:///…
	Backend string `json:"backend,omitempty"` // "file" or s3://…
	KDF     KDF    `json:"kdf,omitzero"`
	Unlock  bool   `json:"unlock,omitempty"` // leave it unlocked

	Passphrase *os.File `json:"-"` // required; read to its end by the opener
}

func (*InitRequest) op() Op          { return "init" }
func (r *InitRequest) vault() string { return r.Vault }

func (r *InitRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// InitReply says where the new vault's parts are.
type InitReply struct {
	Saved
	Vault VaultStatus `json:"vault"`
}

// UnlockRequest unlocks a vault; an empty Vault is the config's first.
type UnlockRequest struct {
	asks[UnlockReply]
	Vault string `json:"vault,omitempty"`

	Passphrase *os.File `json:"-"` // required
}

func (*UnlockRequest) op() Op          { return "unlock" }
func (r *UnlockRequest) vault() string { return r.Vault }

func (r *UnlockRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// UnlockReply is the vault's new state. Unlocking an unlocked vault checks nothing
// and sets AlreadyUnlocked.
type UnlockReply struct {
	Saved
	Vault           VaultStatus `json:"vault"`
	AlreadyUnlocked bool        `json:"already_unlocked,omitempty"`
}

// AddRequest imports a private key file. The vault must be unlocked.
type AddRequest struct {
	asks[AddReply]
	Vault   string   `json:"vault,omitempty"`
	Name    string   `json:"name,omitempty"`    // empty: from the comment
	Comment string   `json:"comment,omitempty"` // empty: the file's
	Hosts   []string `json:"hosts,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	// CertificateBeside: nobody named the certificate, it was found beside the key
	// file. One of another key is left out with a notice.
	CertificateBeside bool `json:"certificate_beside,omitempty"`

	KeyFile       *os.File `json:"-"` // required
	KeyPassphrase *os.File `json:"-"` // absent: an encrypted file gives CodeKeyPassphrase
	Certificate   *os.File `json:"-"`
}

func (*AddRequest) op() Op          { return "add" }
func (r *AddRequest) vault() string { return r.Vault }

func (r *AddRequest) files() []fileSlot {
	return []fileSlot{
		required("key_file", &r.KeyFile),
		optional("key_passphrase", &r.KeyPassphrase),
		optional("certificate", &r.Certificate),
	}
}

// AddReply is the stored key.
type AddReply struct {
	Saved
	Key Key `json:"key"`
}

// GenerateRequest makes a new key in the opener. The vault must be unlocked.
type GenerateRequest struct {
	asks[GenerateReply]
	Vault   string   `json:"vault,omitempty"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`           // "ed25519", "ecdsa", "rsa", "mldsa44-ed25519"
	Bits    int      `json:"bits,omitempty"` // 0: the type's default
	Comment string   `json:"comment,omitempty"`
	Hosts   []string `json:"hosts,omitempty"`
	Tags    []string `json:"tags,omitempty"`
}

func (*GenerateRequest) op() Op          { return "generate" }
func (r *GenerateRequest) vault() string { return r.Vault }

// GenerateReply is the stored key.
type GenerateReply struct {
	Saved
	Key Key `json:"key"`
}

// ForgetRequest has this device forget a vault: what it has of it is moved aside.
type ForgetRequest struct {
	asks[ForgetReply]
	Vault string `json:"vault"`
}

func (*ForgetRequest) op() Op          { return "forget" }
func (r *ForgetRequest) vault() string { return r.Vault }

// ForgetReply says what became of it.
type ForgetReply struct {
	Vault string `json:"vault"`
	// Aside is the folder that the vault's files were moved to.
	Aside string `json:"aside"`
	// Left lists what is still there, and how to be rid of it.
	Left []string `json:"left,omitempty"`
}

// RenameRequest gives a vault another name on this device.
type RenameRequest struct {
	asks[RenameReply]
	Vault string `json:"vault"`
	To    string `json:"to"`
}

func (*RenameRequest) op() Op          { return "rename" }
func (r *RenameRequest) vault() string { return r.Vault }

// RenameReply is the vault under its new name.
type RenameReply struct {
	Saved
	Vault VaultStatus `json:"vault"`
}

// RemoveRequest removes a key from its vault. It takes the vault's passphrase, even while
// the vault is unlocked.
type RemoveRequest struct {
	asks[RemoveReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key"`

	Passphrase *os.File `json:"-"` // required
}

func (*RemoveRequest) op() Op          { return "rm" }
func (r *RemoveRequest) vault() string { return r.Vault }
func (r *RemoveRequest) key() string   { return r.Key }

func (r *RemoveRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// RemoveReply is the removed key.
type RemoveReply struct {
	Saved
	Key Key `json:"key"`
}

// Consent is embedded in a request that may let a key do more than before, which takes the
// vault's passphrase, even while the vault is unlocked. Without it, such a request changes
// nothing and gives CodePassphrase.
type Consent struct {
	// Change is the [Error]'s that asked for the passphrase; empty: whatever it is.
	Change string `json:"change,omitempty"`

	Passphrase *os.File `json:"-"`
}

// EditRequest changes a key's metadata. A nil member is left unchanged; an empty one
// is cleared.
type EditRequest struct {
	asks[EditReply]
	Vault           string         `json:"vault,omitempty"`
	Key             string         `json:"key"`
	Name            *string        `json:"name,omitempty"`
	Comment         *string        `json:"comment,omitempty"`
	Hosts           *[]string      `json:"hosts,omitempty"`
	Tags            *[]string      `json:"tags,omitempty"`
	Confirm         *bool          `json:"confirm,omitempty"`
	Approve         *string        `json:"approve,omitempty"`    // which uses a person is asked for
	AllowSHA1       *bool          `json:"allow_sha1,omitempty"` // RSA signatures with SHA-1
	Destinations    *[]Destination `json:"destinations,omitempty"`
	Keep            string         `json:"keep,omitempty"`             // the revision to keep, if the key has several heads
	DropCertificate bool           `json:"drop_certificate,omitempty"` // remove the stored certificate
	Consent

	Certificate *os.File `json:"-"`
}

func (*EditRequest) op() Op          { return "edit" }
func (r *EditRequest) vault() string { return r.Vault }
func (r *EditRequest) key() string   { return r.Key }

func (r *EditRequest) files() []fileSlot {
	return []fileSlot{optional("certificate", &r.Certificate), optional("passphrase", &r.Passphrase)}
}

// EditReply is the changed key.
type EditReply struct {
	Saved
	Key Key `json:"key"`
}

// Destination is one hop that a key may be used for (restrict-destination-v00@openssh.com
// in OpenSSH's PROTOCOL.agent): from From, which is empty for the first hop, to To.
type Destination struct {
	From Hop `json:"from,omitzero"`
	To   Hop `json:"to"`
}

// Hop is one end of a Destination.
type Hop struct {
	User string    `json:"user,omitempty"` // a pattern; always empty in From
	Host string    `json:"host,omitempty"`
	Keys []HostKey `json:"keys,omitempty"`
}

// HostKey is a host's key, or a CA's.
type HostKey struct {
	Blob []byte `json:"blob"` // SSH wire encoding; base64 in JSON
	CA   bool   `json:"ca,omitempty"`
}

// ExportRequest writes a key as an OpenSSH private key file. It takes the vault's
// passphrase, even while the vault is unlocked.
type ExportRequest struct {
	asks[ExportReply]
	Vault     string `json:"vault,omitempty"`
	Key       string `json:"key"`
	Plaintext bool   `json:"plaintext,omitempty"` // without a passphrase; otherwise NewPassphrase is required

	Passphrase    *os.File `json:"-"` // the vault's; required
	NewPassphrase *os.File `json:"-"` // the new file's
	Output        *os.File `json:"-"` // required; written by the opener, synced by vigilctl
}

func (*ExportRequest) op() Op          { return "export" }
func (r *ExportRequest) vault() string { return r.Vault }
func (r *ExportRequest) key() string   { return r.Key }

func (r *ExportRequest) files() []fileSlot {
	return []fileSlot{
		required("passphrase", &r.Passphrase),
		optional("new_passphrase", &r.NewPassphrase),
		required("output", &r.Output),
	}
}

// ExportReply is the exported key.
type ExportReply struct {
	Key     Key      `json:"key"`
	Notices []string `json:"notices,omitempty"`
}

// WhyRequest asks for the newest refusals, at most Limit (0: all).
type WhyRequest struct {
	asks[WhyReply]
	Limit int `json:"limit,omitempty"`
}

func (*WhyRequest) op() Op { return "why" }

// WhyReply has refusals, newest first.
type WhyReply struct {
	Refusals []Refusal `json:"refusals"`
}

// Refusal is something the daemon refused.
type Refusal struct {
	Time        time.Time `json:"time"`
	What        string    `json:"what"` // "sign", "add", "unlock", "connect", …
	Vault       string    `json:"vault,omitempty"`
	Key         string    `json:"key,omitempty"` // name or comment
	Fingerprint string    `json:"fingerprint,omitempty"`
	PID         int       `json:"pid,omitempty"`
	UID         int       `json:"uid"`
	Program     string    `json:"program,omitempty"` // of PID; empty if it had ended
	Purpose     string    `json:"purpose,omitempty"` // what was to be signed, such as "login as root"
	Host        string    `json:"host,omitempty"`    // fingerprint of the key of the host to log in to
	From        string    `json:"from,omitempty"`    // fingerprint of the key of the host the agent was forwarded to
	Reason      string    `json:"reason"`
	Next        string    `json:"next,omitempty"`
	RequestID   string    `json:"request_id,omitempty"` // of the KMS
}

// RefreshRequest fetches the keyring of a vault, or of all vaults if Vault is empty.
type RefreshRequest struct {
	asks[RefreshReply]
	Vault string `json:"vault,omitempty"`
}

func (*RefreshRequest) op() Op { return "refresh" }

// RefreshReply has one result for each vault.
type RefreshReply struct {
	Vaults []RefreshResult `json:"vaults"`
}

// RefreshResult is the result of refreshing one vault.
type RefreshResult struct {
	Vault   string   `json:"vault"`
	Changed bool     `json:"changed"`
	Epoch   uint64   `json:"epoch"`
	Added   int      `json:"added,omitempty"`
	Removed int      `json:"removed,omitempty"`
	Pushed  int      `json:"pushed,omitempty"` // pending changes that reached the backend
	Error   *Error   `json:"error,omitempty"`
	Notices []string `json:"notices,omitempty"`
}

// Ask is the daemon's question to the person at vigilctl, sent before a reply. The
// answer is a line that isn't secret, such as an MFA code.
type Ask struct {
	Message string `json:"message"`
}

// Answer answers an Ask.
type Answer struct {
	Text string `json:"text"`
}
