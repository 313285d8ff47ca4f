package keeper

import (
	"sync"
	"time"

	"vigil/internal/wire"
)

// deadlines end the keeper, whatever the front does: when no key was used for
// idle, and when the lease wasn't renewed. They are checked when a timer says
// so and, as timers stop in suspend, at least every recheck.
type deadlines struct {
	mu      sync.Mutex
	idle    time.Duration // 0: none
	lastUse instant
	lease   instant       // zero: none
	changed chan struct{} // made by init, holds one token
}

// recheck bounds how late a deadline that passed in suspend is noticed after
// resume. A use of a key checks its own key's deadline at once.
const recheck = 15 * time.Second

func (d *deadlines) touch() {
	d.mu.Lock()
	if d.idle != 0 {
		d.lastUse = now()
	}
	d.mu.Unlock()
}

// passed reports whether a deadline is over, and else when the next one is.
func (d *deadlines) passed(at instant) (over bool, next instant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle != 0 {
		next = d.lastUse.after(d.idle)
	}
	next = earlier(next, d.lease)
	return !next.isZero() && (d.idle != 0 && d.lastUse.after(d.idle).passed(at) || !d.lease.isZero() && d.lease.passed(at)), next
}

// setDeadlines takes the idle time and what is left of the lease, both in
// nanoseconds and 0 for none.
func (s *server) setDeadlines(r *wire.Reader) error {
	idle, lease := time.Duration(r.Uint64()), time.Duration(r.Uint64())
	if r.End() != nil || idle < 0 || lease < 0 {
		return ErrBadRequest
	}
	d, at := &s.deadlines, now()
	d.mu.Lock()
	if d.idle != idle { // renewing a lease is no use of a key
		d.idle, d.lastUse = idle, at
	}
	d.lease = instant{}
	if lease != 0 {
		d.lease = at.after(lease)
	}
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

// watchDeadlines ends the keeper when a deadline has passed, and drops keys
// whose lifetime has ended.
func (s *server) watchDeadlines() {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		at := now()
		over, next := s.deadlines.passed(at)
		if over {
			s.end()
			return
		}
		next = earlier(next, s.keys.expire(at))
		timer.Stop()
		if !next.isZero() {
			timer.Reset(max(time.Millisecond, min(next.left(at), recheck)))
		}
		select {
		case <-timer.C:
		case <-s.deadlines.changed:
		case <-s.quit:
			return
		}
	}
}
