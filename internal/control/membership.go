package control

import (
	"os"
	"time"
)

// Operations on who may open a vault, and on the keys above its items. Whatever
// widens who can read the vault takes the passphrase again, unlocked or not.

// RotateRequest replaces the KEK of an unlocked vault, or finishes a rotation
// that was interrupted.
type RotateRequest struct {
	asks[RotateReply]
	Vault string `json:"vault,omitempty"`
	// Deks gives every item a new DEK too, by a new revision of it.
	Deks bool `json:"deks,omitempty"`
}

func (*RotateRequest) op() Op          { return "rotate" }
func (r *RotateRequest) vault() string { return r.Vault }

// RotateReply says what was replaced.
type RotateReply struct {
	Saved
	Vault   string   `json:"vault"`
	KEK     uint64   `json:"kek"`     // the version in use now
	Renewed int      `json:"renewed"` // items with a new DEK
	Left    []string `json:"left,omitempty"`
}

// IdentityRequestRequest makes an identity for this device, which an owner of
// the vault may admit. The vault's file is there already.
type IdentityRequestRequest struct {
	asks[IdentityRequestReply]
	Vault   string `json:"vault,omitempty"`
	Master  string `json:"master,omitempty"`  // empty: as configured
	Backend string `json:"backend,omitempty"` // empty: as configured
	// Name is what the request calls the device or person.
	Name string `json:"name,omitempty"`
	KDF  KDF    `json:"kdf,omitzero"`
	// Replace makes a new identity on a device that has one.
	Replace bool `json:"replace,omitempty"`

	Passphrase *os.File `json:"-"` // the new identity's; required
}

func (*IdentityRequestRequest) op() Op          { return "identity_request" }
func (r *IdentityRequestRequest) vault() string { return r.Vault }

func (r *IdentityRequestRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// IdentityRequestReply is the request, for an owner.
type IdentityRequestReply struct {
	Vault    string   `json:"vault"`
	Identity string   `json:"identity"`
	Text     string   `json:"text"`
	Words    string   `json:"words"` // its fingerprint
	Notices  []string `json:"notices,omitempty"`
}

// IdentityReadRequest looks at a request without admitting it.
type IdentityReadRequest struct {
	asks[IdentityReadReply]
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
}

func (*IdentityReadRequest) op() Op          { return "identity_read" }
func (r *IdentityReadRequest) vault() string { return r.Vault }

// IdentityReadReply is what a request says. Nothing but the comparison of the
// words shows whose it is.
type IdentityReadReply struct {
	Vault    string `json:"vault"`
	Identity string `json:"identity"`
	Name     string `json:"name,omitempty"`
	Master   string `json:"master"` // scheme of the master key that wraps its share
	Words    string `json:"words"`
}

// IdentityAdmitRequest lets an identity in. Words are the fingerprint that the
// owner compared with the one shown on the other device.
type IdentityAdmitRequest struct {
	asks[IdentityAdmitReply]
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
	Words string `json:"words"`
	Role  string `json:"role"`           // "owner", "member" or "reader"
	Name  string `json:"name,omitempty"` // what this device calls it; empty: as the request does

	Passphrase *os.File `json:"-"` // required
}

func (*IdentityAdmitRequest) op() Op          { return "identity_admit" }
func (r *IdentityAdmitRequest) vault() string { return r.Vault }

func (r *IdentityAdmitRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// IdentityAdmitReply is the identity that was let in.
type IdentityAdmitReply struct {
	Saved
	Identity Identity `json:"identity"`
}

// IdentityListRequest asks who may open a vault.
type IdentityListRequest struct {
	asks[IdentityListReply]
	Vault string `json:"vault,omitempty"`
}

func (*IdentityListRequest) op() Op          { return "identity_list" }
func (r *IdentityListRequest) vault() string { return r.Vault }

// IdentityListReply lists live identities, in the order in which they came.
type IdentityListReply struct {
	Vault      string     `json:"vault"`
	Identities []Identity `json:"identities"`
	// AsOf is when this device last fetched the list.
	AsOf time.Time `json:"as_of"`
}

// Identity is one that may open a vault.
type Identity struct {
	ID     string `json:"id"`
	Role   string `json:"role"`
	Master string `json:"master,omitempty"` // scheme of its master key
	Name   string `json:"name,omitempty"`   // what this device calls it
	This   bool   `json:"this,omitempty"`   // it is this device's
	Record uint64 `json:"record"`           // of the members chain, by which it came
	// Admitted is when this device let it in; absent when another did.
	Admitted *time.Time `json:"admitted,omitempty"`
}

// IdentityRemoveRequest shuts identities out, each named by its id, a prefix of
// one, or a name.
type IdentityRemoveRequest struct {
	asks[IdentityRemoveReply]
	Vault      string   `json:"vault,omitempty"`
	Identities []string `json:"identities"`

	Passphrase *os.File `json:"-"` // required
}

func (*IdentityRemoveRequest) op() Op          { return "identity_remove" }
func (r *IdentityRemoveRequest) vault() string { return r.Vault }

func (r *IdentityRemoveRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// IdentityRemoveReply says who is out and which keys it has seen.
type IdentityRemoveReply struct {
	Saved
	Identities []Identity `json:"identities"`
	KEK        uint64     `json:"kek"`
	// Replace are the keys of the vault: they could read them, so servers should
	// stop trusting them.
	Replace []Key `json:"replace"`
}

// PassphraseRequest changes the passphrase of this device's identity.
type PassphraseRequest struct {
	asks[PassphraseReply]
	Vault string `json:"vault,omitempty"`
	KDF   KDF    `json:"kdf,omitzero"` // zeros: as before

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

// MasterSetRequest moves this device's identity to another master key.
type MasterSetRequest struct {
	asks[MasterSetReply]
	Vault  string `json:"vault,omitempty"`
	Master string `json:"master"` // URI

	Passphrase *os.File `json:"-"` // required
}

func (*MasterSetRequest) op() Op          { return "master_set" }
func (r *MasterSetRequest) vault() string { return r.Vault }

func (r *MasterSetRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// MasterSetReply says where the share is now.
type MasterSetReply struct {
	Saved
	Vault  string `json:"vault"`
	Master string `json:"master"`
	// NewShare: the share is a new one, as it couldn't move from one to the other.
	NewShare bool `json:"new_share,omitempty"`
}

// BackendSetRequest moves this device to another place of the keyring, and the
// keyring there unless it was moved before.
type BackendSetRequest struct {
	asks[BackendSetReply]
	Vault   string `json:"vault,omitempty"`
	Backend string `json:"backend"` // URI

	Passphrase *os.File `json:"-"` // required
}

func (*BackendSetRequest) op() Op          { return "backend_set" }
func (r *BackendSetRequest) vault() string { return r.Vault }

func (r *BackendSetRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// BackendSetReply says where the keyring is now.
type BackendSetReply struct {
	Saved
	Vault   string `json:"vault"`
	Backend string `json:"backend"`
	Copied  bool   `json:"copied,omitempty"` // false: it was there already
}
