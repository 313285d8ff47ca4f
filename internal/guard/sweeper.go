package guard

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// sweepAfter is how long after the last use a Sweeper collects: late enough
	// not to collect between the signatures of one login, soon enough that nothing
	// is left a quarter of a second after the last.
	sweepAfter = 50 * time.Millisecond
	// sweepAtLeast is how long uninterrupted use puts a collection off.
	sweepAtLeast = time.Second
	// sweepTimes: the standard library keeps what it derived from a key in a cache
	// behind weak pointers, which lives through the first collection.
	sweepTimes = 2
	// sweepGap lies between the collections: the cache lets go in a cleanup, which
	// a goroutine of the runtime calls some time after the first.
	sweepGap = 20 * time.Millisecond
)

// Sweeper erases what [Do] left behind. Two things are erased only by a garbage
// collection: what was allocated on the heap, once it is found unreachable; and
// the registers the kernel saved on a thread's signal stack when a signal (the
// scheduler's, say) came in the middle of Do, for whose sake a collection sends
// that thread another signal. So the Sweeper collects twice shortly after the
// last use, also of code that allocates nothing. It owns one goroutine.
type Sweeper struct {
	collect func()
	uses    atomic.Uint64
	pending atomic.Bool
	wake    chan struct{} // has room for one, and holds one at most, while pending
	stop    chan struct{}
	done    chan struct{}
}

// NewSweeper starts a Sweeper; its owner closes it.
func NewSweeper() *Sweeper { return newSweeper(runtime.GC) }

func newSweeper(collect func()) *Sweeper {
	s := &Sweeper{
		collect: collect,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go s.run()
	return s
}

// Touch says that a secret was just used inside Do. It never blocks.
func (s *Sweeper) Touch() {
	s.uses.Add(1)
	if !s.pending.Load() && s.pending.CompareAndSwap(false, true) {
		s.wake <- struct{}{}
	}
}

// Close stops the goroutine and waits for it, without collecting what is due: it
// is for a process about to end, or after Sweep. Touch does nothing after it;
// nobody may call Close again.
func (s *Sweeper) Close() {
	close(s.stop)
	<-s.done
}

func (s *Sweeper) run() {
	defer close(s.done)
	timer := time.NewTimer(sweepAfter)
	timer.Stop()
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			return
		}
		if stopped := s.settle(timer); stopped {
			return
		}
		s.pending.Store(false) // a use from here on asks for a sweep of its own
		s.Sweep()
	}
}

// settle waits until nothing was used for sweepAfter, or for sweepAtLeast.
func (s *Sweeper) settle(timer *time.Timer) (stopped bool) {
	for waited := time.Duration(0); waited < sweepAtLeast; waited += sweepAfter {
		before := s.uses.Load()
		timer.Reset(sweepAfter)
		select {
		case <-timer.C:
		case <-s.stop:
			return true
		}
		if s.uses.Load() == before {
			return false
		}
	}
	return false
}

// Sweep collects now, as it does by itself after the last use, and returns when
// what is unreachable has been erased.
func (s *Sweeper) Sweep() {
	for i := range sweepTimes {
		if i > 0 {
			time.Sleep(sweepGap)
		}
		s.collect()
	}
}
