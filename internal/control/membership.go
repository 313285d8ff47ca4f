package control

import (
	"context"
	"os"
	"time"
)

// The operations on who may open a vault, and on the keys above its items.
const (
	OpRotate          Op = "rotate"
	OpIdentityRequest Op = "identity_request"
	OpIdentityRead    Op = "identity_read"
	OpIdentityAdmit   Op = "identity_admit"
	OpIdentityList    Op = "identity_list"
	OpIdentityRemove  Op = "identity_remove"
	OpPassphrase      Op = "passphrase"
	OpMasterSet       Op = "master_set"
	OpBackendSet      Op = "backend_set"
)

// MembershipHandler answers them. Whatever widens who can read the vault takes
// the passphrase again, unlocked or not.
type MembershipHandler interface {
	Rotate(context.Context, *Call, *RotateRequest) (*RotateReply, error)
	IdentityRequest(context.Context, *Call, *IdentityRequestRequest) (*IdentityRequestReply, error)
	IdentityRead(context.Context, *Call, *IdentityReadRequest) (*IdentityReadReply, error)
	IdentityAdmit(context.Context, *Call, *IdentityAdmitRequest) (*IdentityAdmitReply, error)
	IdentityList(context.Context, *Call, *IdentityListRequest) (*IdentityListReply, error)
	IdentityRemove(context.Context, *Call, *IdentityRemoveRequest) (*IdentityRemoveReply, error)
	Passphrase(context.Context, *Call, *PassphraseRequest) (*PassphraseReply, error)
	MasterSet(context.Context, *Call, *MasterSetRequest) (*MasterSetReply, error)
	BackendSet(context.Context, *Call, *BackendSetRequest) (*BackendSetReply, error)
}

// RotateRequest replaces the KEK of an unlocked vault, or finishes a rotation
// that was interrupted.
type RotateRequest struct {
	Vault string `json:"vault,omitempty"`
	// Deks gives every item a new DEK too, by a new revision of it.
	Deks bool `json:"deks,omitempty"`
}

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
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
}

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
	Vault string `json:"vault,omitempty"`
	Text  string `json:"text"`
	Words string `json:"words"`
	Role  string `json:"role"`           // "owner", "member" or "reader"
	Name  string `json:"name,omitempty"` // what this device calls it; empty: as the request does

	Passphrase *os.File `json:"-"` // required
}

// IdentityAdmitReply is the identity that was let in.
type IdentityAdmitReply struct {
	Saved
	Identity Identity `json:"identity"`
}

// IdentityListRequest asks who may open a vault.
type IdentityListRequest struct {
	Vault string `json:"vault,omitempty"`
}

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
	Vault      string   `json:"vault,omitempty"`
	Identities []string `json:"identities"`

	Passphrase *os.File `json:"-"` // required
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
	Vault string `json:"vault,omitempty"`
	KDF   KDF    `json:"kdf,omitzero"` // zeros: as before

	Passphrase    *os.File `json:"-"` // the old one; required
	NewPassphrase *os.File `json:"-"` // required
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
	Vault  string `json:"vault,omitempty"`
	Master string `json:"master"` // URI

	Passphrase *os.File `json:"-"` // required
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
	Vault   string `json:"vault,omitempty"`
	Backend string `json:"backend"` // URI

	Passphrase *os.File `json:"-"` // required
}

// BackendSetReply says where the keyring is now.
type BackendSetReply struct {
	Saved
	Vault   string `json:"vault"`
	Backend string `json:"backend"`
	Copied  bool   `json:"copied,omitempty"` // false: it was there already
}

func (*RotateRequest) op() Op          { return OpRotate }
func (*IdentityRequestRequest) op() Op { return OpIdentityRequest }
func (*IdentityReadRequest) op() Op    { return OpIdentityRead }
func (*IdentityAdmitRequest) op() Op   { return OpIdentityAdmit }
func (*IdentityListRequest) op() Op    { return OpIdentityList }
func (*IdentityRemoveRequest) op() Op  { return OpIdentityRemove }
func (*PassphraseRequest) op() Op      { return OpPassphrase }
func (*MasterSetRequest) op() Op       { return OpMasterSet }
func (*BackendSetRequest) op() Op      { return OpBackendSet }

func (*RotateRequest) reply() *RotateReply                   { return new(RotateReply) }
func (*IdentityRequestRequest) reply() *IdentityRequestReply { return new(IdentityRequestReply) }
func (*IdentityReadRequest) reply() *IdentityReadReply       { return new(IdentityReadReply) }
func (*IdentityAdmitRequest) reply() *IdentityAdmitReply     { return new(IdentityAdmitReply) }
func (*IdentityListRequest) reply() *IdentityListReply       { return new(IdentityListReply) }
func (*IdentityRemoveRequest) reply() *IdentityRemoveReply   { return new(IdentityRemoveReply) }
func (*PassphraseRequest) reply() *PassphraseReply           { return new(PassphraseReply) }
func (*MasterSetRequest) reply() *MasterSetReply             { return new(MasterSetReply) }
func (*BackendSetRequest) reply() *BackendSetReply           { return new(BackendSetReply) }

func (*RotateRequest) files() []fileSlot       { return nil }
func (*IdentityReadRequest) files() []fileSlot { return nil }
func (*IdentityListRequest) files() []fileSlot { return nil }

func (r *IdentityRequestRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *IdentityAdmitRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *IdentityRemoveRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *PassphraseRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase), required("new_passphrase", &r.NewPassphrase)}
}

func (r *MasterSetRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *BackendSetRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}
