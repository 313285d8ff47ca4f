package control

import (
	"os"
)

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
