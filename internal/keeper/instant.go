package keeper

import "time"

// instant is a moment on two clocks: one that counts through suspend and can't
// be set, and the wall clock, which a suspended or migrated machine may know
// better. A deadline has passed as soon as either says so: setting the wall
// clock back gains nothing.
type instant struct {
	boot time.Duration // since boot, suspend included
	wall time.Time
}

func now() instant { return instant{boot: bootTime(), wall: time.Now()} }

func (i instant) isZero() bool { return i.wall.IsZero() }

// after returns the moment d after i.
func (i instant) after(d time.Duration) instant {
	return instant{boot: i.boot + d, wall: i.wall.Add(d)}
}

// passed reports whether i is over at the moment now.
func (i instant) passed(now instant) bool {
	return now.boot >= i.boot || !now.wall.Before(i.wall)
}

// left is how long it is from now to i on the clock that is further on.
func (i instant) left(now instant) time.Duration {
	return min(i.boot-now.boot, i.wall.Sub(now.wall))
}

// earlier returns the earlier of two deadlines, a zero one being none.
func earlier(a, b instant) instant {
	switch {
	case a.isZero():
		return b
	case b.isZero() || a.boot <= b.boot:
		return a
	default:
		return b
	}
}
