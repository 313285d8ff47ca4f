package agentproto

import (
	"fmt"

	"vigil/internal/wire"
)

// Extension is a request by name (RFC 9987 section 6.8).
type Extension struct {
	Name []byte
	Data []byte // what follows the name; its form depends on it
}

// ParseExtension decodes the body of an MsgExtension.
func ParseExtension(body []byte) (Extension, error) {
	r := wire.NewReader(body)
	x := Extension{Name: r.String()}
	x.Data = r.Rest()
	if err := r.Err(); err != nil {
		return Extension{}, fmt.Errorf("extension request: %w", err)
	}
	return x, nil
}

// SessionBind binds a connection to an SSH session (PROTOCOL.agent section 1).
type SessionBind struct {
	HostKey    []byte // public key or certificate blob
	SessionID  []byte // the exchange hash; 1 to MaxSessionID bytes
	Signature  []byte // the host key's signature over SessionID, not verified here
	Forwarding bool   // the connection is being forwarded to the host, not used to log in there
}

// ParseSessionBind decodes the data of an ExtSessionBind. It verifies nothing.
func ParseSessionBind(data []byte) (SessionBind, error) {
	r := wire.NewReader(data)
	s := SessionBind{HostKey: r.String(), SessionID: r.String(), Signature: r.String(), Forwarding: r.Bool()}
	if err := r.End(); err != nil {
		return SessionBind{}, fmt.Errorf("session bind: %w", err)
	}
	if len(s.SessionID) == 0 || len(s.SessionID) > MaxSessionID {
		return SessionBind{}, fmt.Errorf("session bind: identifier of %d bytes: %w", len(s.SessionID), ErrInvalid)
	}
	return s, nil
}
