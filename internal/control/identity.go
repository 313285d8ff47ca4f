package control

import (
	"os"
	"time"
)

// Operations on the identities and on the keys above the items. Any that widens who
// can read the vault takes the passphrase, even while it is unlocked.

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
