package opener

import (
	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
)

// Seen is what this device has accepted of both keyring objects: a job refuses
// older ones, and forks.
type Seen struct {
	keyring.Pins
	// Kept is the keyring as it was accepted last, or empty. It stands in where
	// what the backend has is refused, so that a job can put that right.
	Kept backend.Keyring `json:"kept"`
}

// RequestIdentity makes an identity that isn't a member yet: its private halves leave the
// opener only within the request, sealed by passphrase and master key.
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

// RequestedIdentity is the request to be admitted (keyring.Request).
type RequestedIdentity struct {
	Identity id.Identity  `json:"identity"`
	Text     string       `json:"text"`
	Calls    master.Calls `json:"calls"`
}

// Admit lets an identity in that asked for it. The place's identity is an owner.
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

// Rekey changes the passphrase of the place's identity: it gets a new share,
// new key pairs, and the vault a new KEK.
type Rekey struct {
	gives[Changed]
	Place         Place `json:"place"`
	Passphrase    File  `json:"passphrase"`
	NewPassphrase File  `json:"new_passphrase"`
	// Keeper is handed the new private halves; 0: the vault is locked.
	Keeper    File `json:"keeper"`
	MemoryKiB int  `json:"memory_kib"` // zeros: as before
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

// MoveBackend copies the keyring to another place, which is vacant or has it already.
type MoveBackend struct {
	gives[Changed]
	Place      Place  `json:"place"`
	Passphrase File   `json:"passphrase"`
	To         string `json:"to"` // URI
}

func (*MoveBackend) name() string { return "move backend" }

// KMSCalls are the calls that a job made to key management services.
type KMSCalls struct {
	Decrypt         uint64 `json:"decrypt"`
	GenerateDataKey uint64 `json:"generate_data_key"`
	ReEncrypt       uint64 `json:"re_encrypt"`
}

// Changed is the keyring after a change of membership.
type Changed struct {
	Keyring backend.Keyring `json:"keyring"`
	KEK     uint64          `json:"kek"`
	Calls   KMSCalls        `json:"calls"`
	// Unfinished says why a rotation that belongs to the change isn't done yet;
	// the change itself is.
	Unfinished *Error `json:"unfinished,omitempty"`
	// Replaced says why the members that the store had were refused; the good ones
	// have taken their place.
	Replaced *Error `json:"replaced,omitempty"`
	// NewShare: MoveMaster made a new share.
	NewShare bool `json:"new_share,omitempty"`
	// Already: there was nothing left to do.
	Already bool `json:"already,omitempty"`
	// HandedOver: the keeper has the new private halves.
	HandedOver bool `json:"handed_over,omitempty"`
}
