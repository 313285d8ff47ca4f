package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"sync"
	"sync/atomic"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/keeper"
)

// lock is the state of ssh-add -x (SSH_AGENTC_LOCK). While locked, nothing signs.
type lock struct {
	active atomic.Bool
	mu     sync.Mutex
	check  *guard.Buffer // salt and HMAC-SHA256(salt, passphrase)
}

const saltLen = 16

func (l *lock) on() bool { return l.active.Load() }

// lock sets the passphrase. A fast hash is enough: it lies in guarded memory beside
// the keys, and the front slows down guesses.
func (s *server) lock(body []byte) error {
	l := &s.locked
	pass, err := agentproto.ParsePassphrase(body)
	if err != nil {
		return fmt.Errorf("%w: %w", keeper.ErrBadRequest, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active.Load() || len(pass) == 0 {
		return fmt.Errorf("%w: locked already, or an empty passphrase", keeper.ErrRefused)
	}
	check, err := s.alloc(saltLen + sha256.Size)
	if err != nil {
		return err
	}
	b := check.Bytes()
	rand.Read(b[:saltLen])
	guard.Do(func() { tag(b[saltLen:], b[:saltLen], pass) })
	l.check = check
	l.active.Store(true)
	return nil
}

// unlock checks the passphrase, and ends the lock if it is right.
func (s *server) unlock(body []byte) error {
	l := &s.locked
	pass, err := agentproto.ParsePassphrase(body)
	if err != nil {
		return fmt.Errorf("%w: %w", keeper.ErrBadRequest, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.active.Load() {
		return fmt.Errorf("%w: not locked", keeper.ErrRefused)
	}
	b := l.check.Bytes()
	var same bool
	guard.Do(func() {
		got := make([]byte, sha256.Size)
		tag(got, b[:saltLen], pass)
		same = subtle.ConstantTimeCompare(got, b[saltLen:]) == 1
	})
	if !same {
		return keeper.ErrWrongPassphrase
	}
	l.check.Free()
	l.check = nil
	l.active.Store(false)
	return nil
}

func tag(dst, salt, pass []byte) {
	mac := hmac.New(sha256.New, salt)
	mac.Write(pass)
	mac.Sum(dst[:0])
}
