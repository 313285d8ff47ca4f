package vault

import (
	"context"
	"errors"
	"time"

	"vigil/internal/opener"
)

// Delays after failed attempts to unlock a vault: the first is minDelay, each
// further one doubles it.
const (
	minDelay = 100 * time.Millisecond
	maxDelay = 10 * time.Second
)

// slowdown slows down guessing at one vault's passphrase.
type slowdown struct {
	delay time.Duration
	until time.Time // when the next attempt may start
}

func (s *slowdown) failed(now time.Time) {
	s.delay = min(max(minDelay, 2*s.delay), maxDelay)
	s.until = now.Add(s.delay)
}

// slowDown waits until the next attempt may start.
func (v *Vault) slowDown(ctx context.Context) error {
	v.mu.Lock()
	wait := time.Until(v.slow.until)
	v.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noteAttempt counts a wrong passphrase; a right one ends the slowdown.
func (v *Vault) noteAttempt(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		v.slow = slowdown{}
	case errors.Is(err, &opener.Error{Kind: opener.WrongPassphrase}):
		v.slow.failed(time.Now())
	}
}
