// Package control is the control socket: the messages between vigilctl and
// vigild, the client that sends them and the server that answers them.
//
// The socket is $XDG_RUNTIME_DIR/vigil/control.sock. Each side first sends a
// hello with its build id. Then the client sends requests, one at a time, and
// the daemon answers each with one reply, before which it may ask (see Ask).
// A message is a 4-byte big-endian length and that many bytes of JSON; decoding
// is strict: an unknown member, a second value or a missing file is refused.
//
// No secret is ever part of a message. A passphrase or a private key file
// travels as a file descriptor beside its request (SCM_RIGHTS): vigild hands it
// to the opener and never reads it.
package control

import (
	"os"
	"time"
)

// VersionRequest asks who is there.
type VersionRequest struct {
	asks[VersionReply]
}

func (*VersionRequest) op() Op { return OpVersion }

// VersionReply says which process answers.
type VersionReply struct {
	Build   string `json:"build"`
	Version string `json:"version"` // release, such as "0.1.0"
	PID     int    `json:"pid"`
}

// StopRequest ends the daemon: it locks everything, answers, and exits. The
// connection stays open until the process has gone (see Client.WaitGone).
type StopRequest struct {
	asks[StopReply]
}

func (*StopRequest) op() Op { return OpStop }

// StopReply says what stopping locked.
type StopReply struct {
	PID    int      `json:"pid"`
	Locked []string `json:"locked,omitempty"` // vaults that were unlocked
}

// LockRequest ends the keepers of a vault, or of all vaults and of the keys
// added by ssh-add when Vault is empty.
type LockRequest struct {
	asks[LockReply]
	Vault string `json:"vault,omitempty"`
}

func (*LockRequest) op() Op { return OpLock }

// LockReply says what was locked. Locking what is locked is no error.
type LockReply struct {
	Locked      []string `json:"locked,omitempty"`       // vaults that were unlocked before
	RemovedKeys int      `json:"removed_keys,omitempty"` // keys added by ssh-add that are gone
}

// ListRequest lists the keys of a vault, or all that the agent lists when Vault is empty.
type ListRequest struct {
	asks[ListReply]
	Vault string `json:"vault,omitempty"`
}

func (*ListRequest) op() Op { return "list" }

// ListReply holds keys in the order the agent lists them.
type ListReply struct {
	Keys []Key `json:"keys"`
}

// ShowRequest asks for one key. Key is a name, a prefix of an id or a SHA256
// fingerprint, here and in the other requests; Vault empty: any vault.
type ShowRequest struct {
	asks[ShowReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key"`
}

func (*ShowRequest) op() Op { return "show" }

// ShowReply is one key, with every head when it has several.
type ShowReply struct {
	Key   Key   `json:"key"`
	Heads []Key `json:"heads,omitempty"`
}

// KDF is the cost of Argon2id. Zero values mean the defaults (256 MiB, 3, 4).
type KDF struct {
	MemoryMiB   uint32 `json:"memory_mib,omitempty"`
	Time        uint32 `json:"time,omitempty"`
	Parallelism uint32 `json:"parallelism,omitempty"`
}

// Saved is what every reply to a change begins with.
type Saved struct {
	Pending bool     `json:"pending,omitempty"` // saved on this device only: the backend couldn't be reached
	Notices []string `json:"notices,omitempty"` // sentences for the user
}

// Outcome returns s, and so does every reply that begins with it.
func (s Saved) Outcome() Saved { return s }

// InitRequest makes a vault. An empty Vault is the config's first; empty
// Master and Backend are the config's, or the local ones.
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

// InitReply says where the new vault's parts lie.
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

// UnlockReply is the vault as it is now. Unlocking what is unlocked checks nothing
// and reports AlreadyUnlocked.
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

// AddReply is the key as it was stored.
type AddReply struct {
	Saved
	Key Key `json:"key"`
}

// GenerateRequest makes a new key inside the opener. The vault must be unlocked.
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

// GenerateReply is the key as it was stored.
type GenerateReply struct {
	Saved
	Key Key `json:"key"`
}

// RemoveRequest removes a key from its vault for good.
type RemoveRequest struct {
	asks[RemoveReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key"`
}

func (*RemoveRequest) op() Op          { return "rm" }
func (r *RemoveRequest) vault() string { return r.Vault }
func (r *RemoveRequest) key() string   { return r.Key }

// RemoveReply is the key that is gone.
type RemoveReply struct {
	Saved
	Key Key `json:"key"`
}

// EditRequest changes what a vault says of a key; a nil member stays as it is,
// an empty one is cleared.
type EditRequest struct {
	asks[EditReply]
	Vault        string         `json:"vault,omitempty"`
	Key          string         `json:"key"`
	Name         *string        `json:"name,omitempty"`
	Comment      *string        `json:"comment,omitempty"`
	Hosts        *[]string      `json:"hosts,omitempty"`
	Tags         *[]string      `json:"tags,omitempty"`
	Confirm      *bool          `json:"confirm,omitempty"`
	Destinations *[]Destination `json:"destinations,omitempty"`
	// Keep is the revision to keep of a key with several heads.
	Keep string `json:"keep,omitempty"`
	// DropCertificate removes the stored certificate.
	DropCertificate bool `json:"drop_certificate,omitempty"`

	Certificate *os.File `json:"-"`
}

func (*EditRequest) op() Op          { return "edit" }
func (r *EditRequest) vault() string { return r.Vault }
func (r *EditRequest) key() string   { return r.Key }

func (r *EditRequest) files() []fileSlot {
	return []fileSlot{optional("certificate", &r.Certificate)}
}

// EditReply is the key as it is now.
type EditReply struct {
	Saved
	Key Key `json:"key"`
}

// Destination is one hop a key may be used for, as restrict-destination-v00@openssh.com
// has it (OpenSSH's PROTOCOL.agent): from From, which is empty for the first hop, to To.
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

// ExportRequest writes a key as an OpenSSH private key file. It asks for the
// vault's passphrase again, unlocked or not.
type ExportRequest struct {
	asks[ExportReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key"`
	// Plaintext writes the file without a passphrase. Without it NewPassphrase is required.
	Plaintext bool `json:"plaintext,omitempty"`

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

// ExportReply is the key that was written.
type ExportReply struct {
	Key     Key      `json:"key"`
	Notices []string `json:"notices,omitempty"`
}

// WhyRequest asks for the newest refusals, at most Limit of them (0: all kept).
type WhyRequest struct {
	asks[WhyReply]
	Limit int `json:"limit,omitempty"`
}

func (*WhyRequest) op() Op { return "why" }

// WhyReply holds refusals, newest first.
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
	Program     string    `json:"program,omitempty"` // and its pid, as unixsock.Process prints them
	Host        string    `json:"host,omitempty"`
	Reason      string    `json:"reason"`
	Next        string    `json:"next,omitempty"`
	RequestID   string    `json:"request_id,omitempty"` // of the KMS
}

// RefreshRequest fetches the keyring of a vault, or of all when Vault is empty.
type RefreshRequest struct {
	asks[RefreshReply]
	Vault string `json:"vault,omitempty"`
}

func (*RefreshRequest) op() Op { return "refresh" }

// RefreshReply holds one result for each vault.
type RefreshReply struct {
	Vaults []RefreshResult `json:"vaults"`
}

// RefreshResult is what refreshing one vault found.
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

// Ask is a question of the daemon's to the person at vigilctl, sent before a
// reply. The answer is a line that is no secret, such as an MFA code.
type Ask struct {
	Message string `json:"message"`
}

// Answer answers an Ask.
type Answer struct {
	Text string `json:"text"`
}
