package server

import (
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/keeper"
)

// maxDrafts bounds the keys that wait to be sealed: the front seals each at once.
const maxDrafts = 16

// takeDraft receives one private key, checks that it matches its public key, and
// keeps it until it is sealed.
func (s *server) takeDraft(conn fdConn) (d keeper.Draft, err error) {
	encoding, err := handover.ReceiveKey(conn, s.vaultID, s.alloc)
	if err != nil {
		return d, err
	}
	d, err = s.addDraft(encoding)
	if err != nil {
		encoding.Free()
	}
	if tellErr := handover.Verdict(conn, err); err == nil {
		err = tellErr
	}
	return d, err
}

// addDraft takes ownership of encoding, a private key as in SSH_AGENTC_ADD_IDENTITY,
// unless it fails.
func (s *server) addDraft(encoding *guard.Buffer) (d keeper.Draft, err error) {
	key, rest, err := s.parseKey(encoding.Bytes())
	if err != nil {
		return d, err
	}
	d = keeper.Draft{Type: key.Type(), Public: key.PlainPublic()}
	key.Free()
	if len(rest) != 0 {
		return d, fmt.Errorf("%w: bytes after the key", keeper.ErrBadRequest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.drafts) >= maxDrafts {
		return d, fmt.Errorf("%w: %d keys wait to be sealed", keeper.ErrRefused, len(s.drafts))
	}
	s.lastDraft++
	s.drafts[s.lastDraft] = encoding
	d.Number = s.lastDraft
	return d, nil
}

// withDraft runs f on a draft's private key, and then drops the draft.
func (s *server) withDraft(number uint64, f func(secret []byte) error) error {
	s.mu.Lock()
	encoding := s.drafts[number]
	delete(s.drafts, number)
	s.mu.Unlock()
	if encoding == nil {
		return keeper.ErrNoKey
	}
	defer encoding.Free()
	return f(encoding.Bytes())
}

// dropDraft drops a draft that won't be sealed.
func (s *server) dropDraft(body []byte) error {
	number, err := keeper.ReadNumber(body)
	if err != nil {
		return err
	}
	return s.withDraft(number, func([]byte) error { return nil })
}
