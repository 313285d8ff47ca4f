package control

import (
	"os"
)

// RotateRequest rotates the KEK of an unlocked vault, or finishes an interrupted rotation.
type RotateRequest struct {
	asks[RotateReply]
	watched
	Vault string `json:"vault,omitempty"`
	// Deks also gives every item a new DEK, by a new revision, and takes the passphrase.
	Deks bool `json:"deks,omitempty"`

	Passphrase *os.File `json:"-"` // required for Deks
}

func (*RotateRequest) op() Op          { return "rotate" }
func (r *RotateRequest) vault() string { return r.Vault }

func (r *RotateRequest) files() []fileSlot {
	return []fileSlot{optional("passphrase", &r.Passphrase)}
}

// RotateReply says what was replaced.
type RotateReply struct {
	Saved
	Vault   string   `json:"vault"`
	KEK     uint64   `json:"kek"`     // the version in use now
	Renewed int      `json:"renewed"` // items with a new DEK
	Left    []string `json:"left,omitempty"`
}

// PassphraseRequest changes the passphrase of this device's identity.
type PassphraseRequest struct {
	asks[PassphraseReply]
	Vault string `json:"vault,omitempty"`
	KDF   KDF    `json:"kdf,omitzero"` // zeros: unchanged

	Passphrase    *os.File `json:"-"` // the old one; required
	NewPassphrase *os.File `json:"-"` // required
}

func (*PassphraseRequest) op() Op          { return "passphrase" }
func (r *PassphraseRequest) vault() string { return r.Vault }

func (r *PassphraseRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase), required("new_passphrase", &r.NewPassphrase)}
}

// PassphraseReply says what follows from the change.
type PassphraseReply struct {
	Saved
	Vault  string `json:"vault"`
	KEK    uint64 `json:"kek"`
	Locked bool   `json:"locked,omitempty"` // the vault was unlocked and had to be locked
}
