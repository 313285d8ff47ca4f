package sshagent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
)

// extension answers an extension request. Session binds are accepted even while
// ssh-add -x has locked the agent (OpenSSH 10.5): a connection made then must not
// look local later.
func (s *session) extension(body, out []byte) []byte {
	x, err := agentproto.ParseExtension(body)
	if err != nil {
		return s.refuse(out, "extension", nil, err)
	}
	switch {
	case string(x.Name) == agentproto.ExtSessionBind:
		if err := s.bind(x.Data); err != nil {
			s.path.Failed = true
			s.note(Refusal{Request: "session-bind"}, nil, err)
			return agentproto.AppendStatus(out, agentproto.MsgExtensionFailure)
		}
		return agentproto.AppendStatus(out, agentproto.MsgSuccess)
	case string(x.Name) == agentproto.ExtQuery && !s.agent.Locked():
		if err := agentproto.ParseEmpty(x.Data); err != nil {
			s.note(Refusal{Request: "query"}, nil, err)
			return agentproto.AppendStatus(out, agentproto.MsgExtensionFailure)
		}
		return agentproto.AppendQueryReply(out, agentproto.ExtSessionBind)
	}
	return decline(out)
}

// bind records the SSH session this connection serves from now on. (OpenSSH:
// process_ext_session_bind.)
func (s *session) bind(data []byte) error {
	s.path.Tried = true
	b, err := agentproto.ParseSessionBind(data)
	if err != nil {
		return err
	}
	if len(s.path.Bindings) == agentproto.MaxBinds && !s.bound(b) {
		return fmt.Errorf("the connection is bound to %d sessions, the most it can be", agentproto.MaxBinds)
	}
	key, err := policy.ParseKey(b.HostKey)
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	if err := verifyHost(&key, b.SessionID, b.Signature); err != nil {
		return err
	}
	for i := range s.path.Bindings {
		old := &s.path.Bindings[i]
		if !old.Forwarding {
			return errors.New("the connection is already bound for logging in")
		}
		if !bytes.Equal(old.SessionID, b.SessionID) {
			continue
		}
		if !bytes.Equal(old.Host.Blob, key.Blob) {
			return errors.New("the session is already bound to another host key")
		}
		return nil
	}
	// The request's memory is reused: keep a copy.
	if key, err = policy.ParseKey(bytes.Clone(b.HostKey)); err != nil {
		return err
	}
	s.path.Bindings = append(s.path.Bindings, policy.Binding{
		Host: key, SessionID: bytes.Clone(b.SessionID), Forwarding: b.Forwarding,
	})
	return nil
}

// bound reports whether the connection is bound to b's session.
func (s *session) bound(b agentproto.SessionBind) bool {
	return slices.ContainsFunc(s.path.Bindings, func(old policy.Binding) bool {
		return bytes.Equal(old.SessionID, b.SessionID)
	})
}
