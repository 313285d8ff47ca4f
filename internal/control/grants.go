package control

import "time"

// GrantsRequest asks for the answers that hold: which uses of a key a person has allowed
// for some time. With Revoke they are asked for again; with Number that one, else all.
type GrantsRequest struct {
	asks[GrantsReply]
	Revoke bool `json:"revoke,omitempty"`
	Number int  `json:"number,omitempty"`
}

func (*GrantsRequest) op() Op { return "grants" }

// GrantsReply has the answers that hold, in the order they were given, and how many were
// revoked.
type GrantsReply struct {
	Grants  []Grant `json:"grants"`
	Revoked int     `json:"revoked,omitempty"`
}

// Grant is an answer that holds.
type Grant struct {
	Number      int       `json:"number"`
	Until       time.Time `json:"until"`
	Vault       string    `json:"vault,omitempty"`
	Key         string    `json:"key"` // comment
	Fingerprint string    `json:"fingerprint"`
	Purpose     string    `json:"purpose"`
	Host        string    `json:"host,omitempty"` // fingerprint of the key of the host to log in to
	From        string    `json:"from,omitempty"` // fingerprint of the key of the host the agent was forwarded to
	Origin      string    `json:"origin"`         // what the program belongs to that may do it
	Uses        int       `json:"uses"`
}
