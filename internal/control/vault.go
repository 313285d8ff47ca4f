package control

import (
	"os"
	"time"
)

// Operations on a vault as a whole: its content, its integrity and its history.

// VerifyRequest checks every layer and every item of an unlocked vault, including
// private keys. It needs no network.
type VerifyRequest struct {
	asks[VerifyReply]
	watched
	Vault string `json:"vault,omitempty"`
}

func (*VerifyRequest) op() Op          { return "vault_verify" }
func (r *VerifyRequest) vault() string { return r.Vault }

// VerifyReply is what was checked. Without Problems, everything is good.
type VerifyReply struct {
	Vault    string   `json:"vault"`
	Problems []string `json:"problems,omitempty"`

	Items          int    `json:"items"`
	Heads          int    `json:"heads"`            // more than Items: some were edited on several devices
	Superseded     int    `json:"superseded"`       // lines of superseded revisions
	WaitingForKey  int    `json:"waiting_for_key"`  // lines without a DEK
	WaitingForLine int    `json:"waiting_for_line"` // DEKs without a line
	Deleted        int    `json:"deleted"`          // items with a tombstone
	Pending        int    `json:"pending"`
	Identities     int    `json:"identities"`
	Records        int    `json:"records"` // of members
	Epoch          uint64 `json:"epoch"`
	KEK            uint64 `json:"kek"`
	FileBytes      int    `json:"file_bytes"`
	MembersBytes   int    `json:"members_bytes"`
	DeksBytes      int    `json:"deks_bytes"`
	Generations    int    `json:"generations"`
}

// HistoryRequest lists this device's earlier vault files and, with Key, the key's
// revisions in them.
type HistoryRequest struct {
	asks[HistoryReply]
	Vault string `json:"vault,omitempty"`
	Key   string `json:"key,omitempty"`
}

func (*HistoryRequest) op() Op { return "vault_history" }

// HistoryReply lists the newest first.
type HistoryReply struct {
	Generations []Generation      `json:"generations"`
	Revisions   []HistoryRevision `json:"revisions,omitempty"`
}

// Generation is an earlier vault file.
type Generation struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"` // when it was replaced
	Items int       `json:"items"`
	Bytes int64     `json:"bytes"`
}

// HistoryRevision is a revision of one key.
type HistoryRevision struct {
	Revision   string     `json:"revision"`
	Generation string     `json:"generation,omitempty"` // the newest that has it; empty: the current file
	Current    bool       `json:"current,omitempty"`
	Superseded *time.Time `json:"superseded,omitempty"`
	Restorable bool       `json:"restorable"` // its DEK is still in the keyring
}

// RestoreRequest makes a new revision from a superseded one.
type RestoreRequest struct {
	asks[RestoreReply]
	Vault    string `json:"vault,omitempty"`
	Key      string `json:"key"`
	Revision string `json:"revision"` // or a prefix of it
	Consent
}

func (*RestoreRequest) op() Op          { return "vault_restore" }
func (r *RestoreRequest) vault() string { return r.Vault }
func (r *RestoreRequest) key() string   { return r.Key }

func (r *RestoreRequest) files() []fileSlot {
	return []fileSlot{optional("passphrase", &r.Passphrase)}
}

// RestoreReply is the restored key.
type RestoreReply struct {
	Saved
	Key Key `json:"key"`
}

// KeyringRestoreRequest resolves the refusal of a keyring that is older than what
// this device has seen, or a fork of it. It takes the passphrase.
type KeyringRestoreRequest struct {
	asks[KeyringRestoreReply]
	Vault string `json:"vault,omitempty"`
	// Accept takes the backend's keyring as it is, and loses what it lacks. Otherwise
	// this device's last good one is put back.
	Accept bool `json:"accept,omitempty"`

	Passphrase *os.File `json:"-"` // required
}

func (*KeyringRestoreRequest) op() Op          { return "keyring_restore" }
func (r *KeyringRestoreRequest) vault() string { return r.Vault }

func (r *KeyringRestoreRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// KeyringRestoreReply is the vault's new state.
type KeyringRestoreReply struct {
	Saved
	Vault VaultStatus `json:"vault"`
}
