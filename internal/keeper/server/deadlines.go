package server

import (
	"sync"
	"time"

	"vigil/internal/clock"
	"vigil/internal/keeper"
)

// deadlines end the keeper, whatever the front does: when no key was used for
// idle, and when the lease wasn't renewed. They are checked when a timer says
// so and, as timers stop in suspend, at least every recheck.
type deadlines struct {
	mu      sync.Mutex
	idle    time.Duration // 0: none
	lastUse clock.Instant
	lease   clock.Instant // zero: none
	changed chan struct{} // made by newServer, holds one token
}

// recheck bounds how late a deadline that passed in suspend is noticed after
// resume. A use of a key checks its own key's deadline at once.
const recheck = 15 * time.Second

func (d *deadlines) touch() {
	d.mu.Lock()
	if d.idle != 0 {
		d.lastUse = clock.Now()
	}
	d.mu.Unlock()
}

// passed reports whether a deadline is over, and else when the next one is.
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
	if d.idle != q.Idle { // renewing a lease is no use of a key
		d.idle, d.lastUse = q.Idle, clock.Now()
	}
	d.lease = q.Lease
	d.mu.Unlock()
	s.wakeWatch()
	return nil
}

// wakeWatch makes watchDeadlines look at the deadlines again.
func (s *server) wakeWatch() {
	select {
	case s.deadlines.changed <- struct{}{}:
	default:
	}
}

// watchDeadlines ends the keeper when a deadline has passed or somebody traces it,
// and drops keys whose lifetime has ended.
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
		_ = s.untraced() // ends it, or looks again
		next = clock.Earlier(next, s.keys.expire(at))
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(time.Millisecond, min(next.Left(at), recheck)))
		}
		select {
		case <-timer.C:
		case <-s.deadlines.changed:
		case <-s.quit:
			return
		}
	}
}
