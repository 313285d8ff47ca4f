// Package clock has moments on two clocks: one that counts through suspend and
// can't be set, and the wall clock, which a suspended or migrated machine may
// know better. A deadline has passed as soon as either says so: neither a
// suspend nor a clock that is set back makes anything last longer.
package clock

import "time"

// Instant is a moment on both clocks. The zero value is none.
type Instant struct {
	boot time.Duration // since boot, suspend included
	wall time.Time     // without a monotonic reading: that clock stands still in suspend
}

// Now returns the present moment.
func Now() Instant { return Instant{boot: BootTime(), wall: time.Now().Round(0)} }

// Of returns what Boot and UnixNano have said of a moment in another process of
// this machine. Two zeros are no moment.
func Of(boot time.Duration, unixNano int64) Instant {
	if boot == 0 && unixNano == 0 {
		return Instant{}
	}
	return Instant{boot: boot, wall: time.Unix(0, unixNano)}
}

// Boot is the moment in time since boot.
func (i Instant) Boot() time.Duration { return i.boot }

// UnixNano is the moment on the wall clock; 0 for none.
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

// Passed reports whether i is over at the moment now.
func (i Instant) Passed(now Instant) bool { return i.Left(now) <= 0 }

// Left is how long it is from now to i on the clock that is further on.
func (i Instant) Left(now Instant) time.Duration {
	return min(i.boot-now.boot, i.wall.Sub(now.wall))
}

// Since is how long it is from i to now on the clock that is further on.
func (i Instant) Since(now Instant) time.Duration {
	return max(now.boot-i.boot, now.wall.Sub(i.wall))
}

// shown is how far apart both clocks may be before Shown goes by the time since boot.
const shown = 2 * time.Second

// Shown is the wall clock's time at which i passes, for people. It is that of the
// wall clock unless that was set since.
func (i Instant) Shown(now Instant) time.Time {
	byBoot := now.wall.Add(i.boot - now.boot)
	if apart := i.wall.Sub(byBoot); apart > shown || apart < -shown {
		return byBoot.Round(time.Second)
	}
	return i.wall
}

// Earlier returns the deadline that has passed when either has, a zero one being none.
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
