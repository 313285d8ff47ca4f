// Package clock measures moments on two clocks: one that counts through suspend and
// can't be set, and the wall clock, which may be more accurate on a suspended or
// migrated machine. A deadline has passed once it has on either clock: neither a
// suspend nor setting a clock back makes anything last longer.
package clock

import "time"

// Instant is a moment on both clocks. The zero value is no moment.
type Instant struct {
	boot time.Duration // since boot, suspend included
	wall time.Time     // without a monotonic reading, which stops during suspend
}

// Now returns the present moment.
func Now() Instant { return Instant{boot: BootTime(), wall: time.Now().Round(0)} }

// Of returns the moment whose Boot and UnixNano another process on this machine has
// sent. Two zeros are no moment.
func Of(boot time.Duration, unixNano int64) Instant {
	if boot == 0 && unixNano == 0 {
		return Instant{}
	}
	return Instant{boot: boot, wall: time.Unix(0, unixNano)}
}

// Boot returns the moment as time since boot.
func (i Instant) Boot() time.Duration { return i.boot }

// UnixNano returns the moment on the wall clock, or 0 for no moment.
func (i Instant) UnixNano() int64 {
	if i.IsZero() {
		return 0
	}
	return i.wall.UnixNano()
}

// IsZero reports whether i is no moment.
func (i Instant) IsZero() bool { return i.wall.IsZero() }

// After returns the moment d after i.
func (i Instant) After(d time.Duration) Instant {
	return Instant{boot: i.boot + d, wall: i.wall.Add(d)}
}

// Passed reports whether i has passed at the moment now.
func (i Instant) Passed(now Instant) bool { return i.Left(now) <= 0 }

// Left returns the time from now to i, on the clock on which it is shorter.
func (i Instant) Left(now Instant) time.Duration {
	return min(i.boot-now.boot, i.wall.Sub(now.wall))
}

// Since returns the time from i to now, on the clock on which it is longer.
func (i Instant) Since(now Instant) time.Duration {
	return max(now.boot-i.boot, now.wall.Sub(i.wall))
}

// shown is how far apart both clocks may be before Shown uses the time since boot.
const shown = 2 * time.Second

// Shown returns the wall clock's time at which i passes, for people. If the wall
// clock was set since, Shown computes it from the time since boot.
func (i Instant) Shown(now Instant) time.Time {
	byBoot := now.wall.Add(i.boot - now.boot)
	if apart := i.wall.Sub(byBoot); apart > shown || apart < -shown {
		return byBoot.Round(time.Second)
	}
	return i.wall
}

// Earlier returns the deadline that has passed once a or b has. A zero Instant is no
// deadline.
func Earlier(a, b Instant) Instant {
	switch {
	case a.IsZero():
		return b
	case b.IsZero():
		return a
	}
	if b.wall.Before(a.wall) {
		a.wall = b.wall
	}
	a.boot = min(a.boot, b.boot)
	return a
}
