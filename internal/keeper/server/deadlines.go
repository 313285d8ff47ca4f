package server

import (
	"sync"
	"time"

	"vigil/internal/clock"
	"vigil/internal/keeper"
)

// deadlines end the keeper, even if the front hangs: when no key was used for idle,
// and when the lease wasn't renewed. They are checked by a timer and, as timers stop
// during suspend, at least every recheck.
type deadlines struct {
	mu      sync.Mutex
	idle    time.Duration // 0: none
	lastUse clock.Instant
	lease   clock.Instant // zero: none
	changed chan struct{} // made by newServer, holds one token
}

// recheck bounds how late after resume a deadline that passed in suspend is noticed,
// and how long a tracer goes unseen.
// Using a key checks its own deadline at once.
const recheck = 15 * time.Second

func (d *deadlines) touch() {
	d.mu.Lock()
	if d.idle != 0 {
		d.lastUse = clock.Now()
	}
	d.mu.Unlock()
}

// passed reports whether a deadline is over, or else when the next one is.
func (d *deadlines) passed(at clock.Instant) (over bool, next clock.Instant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle != 0 {
		next = d.lastUse.After(d.idle)
	}
	next = clock.Earlier(next, d.lease)
	return !next.IsZero() && next.Passed(at), next
}

func (s *server) setDeadlines(body []byte) error {
	q, err := keeper.ReadDeadlines(body)
	if err != nil {
		return err
	}
	d := &s.deadlines
	d.mu.Lock()
	if d.idle != q.Idle { // renewing a lease doesn't count as use of a key
		d.idle, d.lastUse = q.Idle, clock.Now()
	}
	d.lease = q.Lease
	d.mu.Unlock()
	s.wakeWatch()
	return nil
}

// wakeWatch makes watchDeadlines check the deadlines.
func (s *server) wakeWatch() {
	select {
	case s.deadlines.changed <- struct{}{}:
	default:
	}
}

// watchDeadlines ends the keeper when a deadline has passed or it is traced, and
// drops keys whose lifetime has ended.
func (s *server) watchDeadlines() {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		at := clock.Now()
		over, next := s.deadlines.passed(at)
		if over {
			s.end()
			return
		}
		_ = s.untraced() // ends the keeper, or checks again
		next = clock.Earlier(next, s.keys.expire(at))
		wait := recheck // a tracer may come at any time
		if !next.IsZero() {
			wait = max(time.Millisecond, min(next.Left(at), recheck))
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.deadlines.changed:
		case <-s.quit:
			return
		}
	}
}
