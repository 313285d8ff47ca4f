package control

import (
	"os"
	"time"
)

// Operations on the identities and on the keys above the items. Any that widens who
// can read the vault takes the passphrase, even while it is unlocked.

// RotateRequest rotates the KEK of an unlocked vault, or finishes an interrupted rotation.
type RotateRequest struct {
	asks[RotateReply]
	Vault string `json:"vault,omitempty"`
	// Deks also gives every item a new DEK, by a new revision.
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

// IdentityRequestRequest makes an identity for this device, for an owner of the vault
// to admit. The vault's file must be here.
type IdentityRequestRequest struct {
	asks[IdentityRequestReply]
	Vault   string `json:"vault,omitempty"`
	Master  string `json:"master,omitempty"`  // empty: as configured
	Backend string `json:"backend,omitempty"` // empty: as configured
	Name    string `json:"name,omitempty"`    // of the device or person, for the request
	KDF     KDF    `json:"kdf,omitzero"`
	Replace bool   `json:"replace,omitempty"` // make a new identity even if the device has one

	Passphrase *os.File `json:"-"` // the new identity's; required
}

func (*IdentityRequestRequest) op() Op          { return "identity_request" }
func (r *IdentityRequestRequest) vault() string { return r.Vault }

func (r *IdentityRequestRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// IdentityRequestReply is the request to send to an owner.
type IdentityRequestReply struct {
	Vault    string   `json:"vault"`
	Identity string   `json:"identity"`
	Text     string   `json:"text"`
	Words    string   `json:"words"` // its fingerprint
	Notices  []string `json:"notices,omitempty"`
}

// IdentityReadRequest decodes a request without admitting it.
type IdentityReadRequest struct {
	asks[IdentityReadReply]
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
}

func (*IdentityReadRequest) op() Op          { return "identity_read" }
func (r *IdentityReadRequest) vault() string { return r.Vault }

// IdentityReadReply is the content of a request. Only comparing the words shows whose
// it is.
type IdentityReadReply struct {
	Vault    string `json:"vault"`
	Identity string `json:"identity"`
	Name     string `json:"name,omitempty"`
	Master   string `json:"master"` // scheme of the master key that wraps its share
	Words    string `json:"words"`
}

// IdentityAdmitRequest admits an identity. Words are the fingerprint that the owner
// compared with the one on the other device.
type IdentityAdmitRequest struct {
	asks[IdentityAdmitReply]
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
	Words string `json:"words"`
	Role  string `json:"role"`           // "owner", "member" or "reader"
	Name  string `json:"name,omitempty"` // this device's name for it; empty: the request's

	Passphrase *os.File `json:"-"` // required
}

func (*IdentityAdmitRequest) op() Op          { return "identity_admit" }
func (r *IdentityAdmitRequest) vault() string { return r.Vault }

func (r *IdentityAdmitRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

// IdentityAdmitReply is the admitted identity.
type IdentityAdmitReply struct {
	Saved
	Identity Identity `json:"identity"`
}

// IdentityListRequest lists the identities that can open a vault.
type IdentityListRequest struct {
	asks[IdentityListReply]
	Vault string `json:"vault,omitempty"`
}

func (*IdentityListRequest) op() Op          { return "identity_list" }
func (r *IdentityListRequest) vault() string { return r.Vault }

// IdentityListReply lists live identities in the order of their admission.
type IdentityListReply struct {
	Vault      string     `json:"vault"`
	Identities []Identity `json:"identities"`
	AsOf       time.Time  `json:"as_of"` // when this device last fetched the list
}

// Identity is an identity that can open a vault.
type Identity struct {
	ID       string     `json:"id"`
	Role     string     `json:"role"`
	Master   string     `json:"master,omitempty"`   // scheme of its master key
	Name     string     `json:"name,omitempty"`     // this device's name for it
	This     bool       `json:"this,omitempty"`     // this device's identity
	Record   uint64     `json:"record"`             // the members record that admitted it
	Admitted *time.Time `json:"admitted,omitempty"` // when this device admitted it; nil: another device did
}

// IdentityRemoveRequest removes identities, each named by its id, a prefix of it, or
// a name.
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

// IdentityRemoveReply lists the removed identities and the keys they have seen.
type IdentityRemoveReply struct {
	Saved
	Identities []Identity `json:"identities"`
	KEK        uint64     `json:"kek"`
	// Replace are the vault's keys: the removed identities could read them, so
	// servers should stop trusting them.
	Replace []Key `json:"replace"`
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
	Vault    string `json:"vault"`
	Master   string `json:"master"`
	NewShare bool   `json:"new_share,omitempty"` // the share couldn't move, so a new one was made
}

// BackendSetRequest moves this device to another backend, and moves the keyring there
// unless it has been moved before.
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
	Copied  bool   `json:"copied,omitempty"` // false: the keyring was there already
}
