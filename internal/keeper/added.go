package keeper

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/clock"
	"vigil/internal/guard"
	"vigil/internal/wire"
)

// add takes the body of SSH_AGENTC_ADD_IDENTITY or, when bound, of
// SSH_AGENTC_ADD_ID_CONSTRAINED (RFC 9987 section 3.2) and reports what the
// front needs to list the key and to enforce its constraints.
func (s *server) add(body []byte, bound bool, out []byte) ([]byte, error) {
	key, rest, err := s.parseKey(body)
	if err != nil {
		return out, err
	}
	e := &entry{key: key}
	comment, constraints, err := e.tail(rest, bound)
	if err != nil {
		key.Free()
		return out, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	number := s.keys.add(e)
	if !e.expires.IsZero() {
		s.wakeWatch()
	}
	out = wire.AppendUint64(out, number)
	out = wire.AppendString(out, key.Public())
	out = wire.AppendString(out, key.PlainPublic())
	out = wire.AppendString(out, comment)
	return wire.AppendString(out, constraints), nil
}

// tail reads what follows the key. The keeper keeps the lifetime itself: a key
// is gone when it ends, whatever the front does.
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

func (s *server) remove(r *wire.Reader) error {
	number := r.Uint64()
	if r.End() != nil {
		return ErrBadRequest
	}
	if !s.keys.remove(number) {
		return ErrNoKey
	}
	return nil
}

// hidden is the state of ssh-add -x. While it's on, nothing signs here.
type hidden struct {
	active atomic.Bool
	mu     sync.Mutex
	check  *guard.Buffer // salt and HMAC-SHA256(salt, passphrase)
}

const saltLen = 16

func (h *hidden) on() bool { return h.active.Load() }

// hide sets the passphrase. A fast hash is enough: it lies in guarded memory
// beside the keys it protects, and the front slows down guessing.
func (h *hidden) hide(s *server, body []byte) error {
	pass, err := agentproto.ParsePassphrase(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active.Load() || len(pass) == 0 {
		return fmt.Errorf("%w: locked already, or an empty passphrase", ErrRefused)
	}
	check, err := s.alloc(saltLen + sha256.Size)
	if err != nil {
		return err
	}
	b := check.Bytes()
	rand.Read(b[:saltLen])
	guard.Do(func() { tag(b[saltLen:], b[:saltLen], pass) })
	h.check = check
	h.active.Store(true)
	return nil
}

func (h *hidden) reveal(body []byte) error {
	pass, err := agentproto.ParsePassphrase(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.active.Load() {
		return fmt.Errorf("%w: not locked", ErrRefused)
	}
	b := h.check.Bytes()
	var same bool
	guard.Do(func() {
		got := make([]byte, sha256.Size)
		tag(got, b[:saltLen], pass)
		same = subtle.ConstantTimeCompare(got, b[saltLen:]) == 1
	})
	if !same {
		return ErrWrongPassphrase
	}
	h.check.Free()
	h.check = nil
	h.active.Store(false)
	return nil
}

func tag(dst, salt, pass []byte) {
	mac := hmac.New(sha256.New, salt)
	mac.Write(pass)
	mac.Sum(dst[:0])
}
