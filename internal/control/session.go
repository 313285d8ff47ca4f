package control

import (
	"os"
	"time"
)

// SessionRegisterRequest registers the terminal session that the client runs in, where
// people are asked from then on. The daemon takes the session from the kernel, by the
// client's process number.
type SessionRegisterRequest struct {
	asks[SessionRegisterReply]
	Term string `json:"term"` // TERM
}

func (*SessionRegisterRequest) op() Op { return "session_register" }

// SessionRegisterReply is the session.
type SessionRegisterReply struct {
	Session TerminalSession `json:"session"`
}

// TerminalSession is a registered session.
type TerminalSession struct {
	Terminal   string    `json:"terminal"` // its path
	Leader     int       `json:"leader"`   // process number
	Term       string    `json:"term"`
	Registered time.Time `json:"registered"`
	// Proved names the vaults that a passphrase typed in the session has unlocked, since
	// when they stayed unlocked.
	Proved []string `json:"proved,omitempty"`
}

// SessionListRequest lists the registered sessions that haven't ended.
type SessionListRequest struct {
	asks[SessionListReply]
}

func (*SessionListRequest) op() Op { return "session_list" }

// SessionListReply has the newest session first.
type SessionListReply struct {
	Sessions []TerminalSession `json:"sessions"`
}

// AskRequest says that a person waits for requests at the client's terminal. For each
// prompt, the daemon passes a connection through Channel, on which the client is an asker
// (package ask); it ends when the client closes its own end. As anyone who may use the
// control socket can pose as one, the person is asked to allow something only after they
// have typed the vault's passphrase there.
type AskRequest struct {
	asks[AskReply]

	Channel *os.File `json:"-"` // required; one end of a socketpair
}

func (*AskRequest) op() Op { return "ask" }

func (r *AskRequest) files() []fileSlot {
	return []fileSlot{required("channel", &r.Channel)}
}

// AskReply says that requests will come.
type AskReply struct {
	PID int `json:"pid"` // the daemon's
}
