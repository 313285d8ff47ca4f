package opener

import (
	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
)

// Seen is what this device has accepted of both keyring objects. Jobs refuse older
// ones and forks.
type Seen struct {
	keyring.Pins
	// Kept is the last accepted keyring, or empty. It replaces a refused one, so that
	// a job can repair the backend.
	Kept backend.Keyring `json:"kept"`
}

// RequestIdentity makes an identity that isn't a member yet. Its private keys leave
// the opener only in the request, sealed by passphrase and master key.
type RequestIdentity struct {
	gives[RequestedIdentity]
	Place      Place  `json:"place"`
	Passphrase File   `json:"passphrase"`
	Name       string `json:"name"`
	MemoryKiB  int    `json:"memory_kib"` // Argon2id's cost; zeros: the defaults
	Time       int    `json:"time"`
	Lanes      int    `json:"lanes"`
}

func (*RequestIdentity) name() string { return "request identity" }

// RequestedIdentity is a request for admission (keyring.Request).
type RequestedIdentity struct {
	Identity id.Identity  `json:"identity"`
	Text     string       `json:"text"`
	Calls    master.Calls `json:"calls"`
}

// Admit admits an identity that requested it. The place's identity is an owner.
type Admit struct {
	gives[Changed]
	Place      Place        `json:"place"`
	Passphrase File         `json:"passphrase"`
	Text       string       `json:"text"`
	Role       keyring.Role `json:"role"`
}

func (*Admit) name() string { return "admit" }

// RemoveIdentities removes identities and rotates the KEK. The place's identity is an owner.
type RemoveIdentities struct {
	gives[Changed]
	Place      Place         `json:"place"`
	Passphrase File          `json:"passphrase"`
	Identities []id.Identity `json:"identities"`
}

func (*RemoveIdentities) name() string { return "remove identities" }

// Rekey changes the passphrase of the place's identity: the identity gets a new share
// and new key pairs, and the vault a new KEK.
type Rekey struct {
	gives[Changed]
	Place         Place `json:"place"`
	Passphrase    File  `json:"passphrase"`
	NewPassphrase File  `json:"new_passphrase"`
	// Keeper receives the new private keys; 0: the vault is locked.
	Keeper    File `json:"keeper"`
	MemoryKiB int  `json:"memory_kib"` // zeros: unchanged
	Time      int  `json:"time"`
	Lanes     int  `json:"lanes"`
}

func (*Rekey) name() string { return "rekey" }

// MoveMaster moves the place's identity to another master key.
type MoveMaster struct {
	gives[Changed]
	Place      Place  `json:"place"`
	Passphrase File   `json:"passphrase"`
	To         string `json:"to"` // URI
}

func (*MoveMaster) name() string { return "move master" }

// MoveBackend copies the keyring to another place, which is vacant or already has it.
type MoveBackend struct {
	gives[Changed]
	Place      Place  `json:"place"`
	Passphrase File   `json:"passphrase"`
	To         string `json:"to"` // URI
}

func (*MoveBackend) name() string { return "move backend" }

// KMSCalls counts a job's calls to key management services.
type KMSCalls struct {
	Decrypt         uint64 `json:"decrypt"`
	GenerateDataKey uint64 `json:"generate_data_key"`
	ReEncrypt       uint64 `json:"re_encrypt"`
}

// Changed is the keyring after a membership change.
type Changed struct {
	Keyring backend.Keyring `json:"keyring"`
	KEK     uint64          `json:"kek"`
	Calls   KMSCalls        `json:"calls"`
	// Unfinished says why a rotation that belongs to the completed change isn't complete.
	Unfinished *Error `json:"unfinished,omitempty"`
	// Replaced says why the store's members were refused, which good ones have now
	// replaced.
	Replaced   *Error `json:"replaced,omitempty"`
	NewShare   bool   `json:"new_share,omitempty"`   // MoveMaster made a new share
	Already    bool   `json:"already,omitempty"`     // there was nothing left to do
	HandedOver bool   `json:"handed_over,omitempty"` // the keeper has the new private keys
}
