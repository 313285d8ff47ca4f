package server

import (
	"fmt"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/clock"
	"vigil/internal/keeper"
)

// add takes the body of SSH_AGENTC_ADD_IDENTITY or, if bound, of
// SSH_AGENTC_ADD_ID_CONSTRAINED (RFC 9987 section 3.2). It replies with what the
// front needs to list the key and enforce its constraints.
func (s *server) add(body []byte, bound bool, out []byte) ([]byte, error) {
	key, rest, err := s.parseKey(body)
	if err != nil {
		return out, err
	}
	e := &entry{key: key}
	comment, constraints, err := e.tail(rest, bound)
	if err != nil {
		key.Free()
		return out, fmt.Errorf("%w: %w", keeper.ErrBadRequest, err)
	}
	number := s.keys.add(e)
	if !e.expires.IsZero() {
		s.wakeWatch()
	}
	return keeper.Added{
		Key: number, Blob: key.Public(), Plain: key.PlainPublic(), Comment: string(comment), Constraints: constraints,
	}.Append(out), nil
}

// tail decodes what follows the key. The keeper enforces the lifetime itself, even if
// the front hangs.
func (e *entry) tail(rest []byte, bound bool) (comment, constraints []byte, err error) {
	t, err := agentproto.ParseKeyTail(rest, bound)
	if err != nil {
		return nil, nil, err
	}
	if c := t.Constraints; c.HasLifetime {
		e.expires = clock.Now().After(time.Duration(c.Lifetime) * time.Second)
	}
	return t.Comment, t.Constraints.Raw, nil
}

func (s *server) remove(body []byte) error {
	number, err := keeper.ReadNumber(body)
	if err != nil {
		return err
	}
	if !s.keys.remove(number) {
		return keeper.ErrNoKey
	}
	return nil
}
