package guard

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// sweepAfter is how long after the last use a Sweeper collects: late enough not
	// to collect between the signatures of one login, soon enough that nothing is
	// left a quarter of a second after the last use.
	sweepAfter = 50 * time.Millisecond
	// sweepAtLeast is how long uninterrupted use puts a collection off.
	sweepAtLeast = time.Second
	// sweepTimes is the number of collections. The standard library caches what it
	// derives from a key behind weak pointers, which survives the first collection.
	sweepTimes = 2
	// sweepGap is the time between the collections: the cache releases its entries
	// in a cleanup, which the runtime calls some time after the first collection.
	sweepGap = 20 * time.Millisecond
)

// Sweeper erases what [Do] left behind. Two things are erased only by a garbage
// collection: heap memory, once it is found unreachable; and the registers that
// the kernel saved on a thread's signal stack when a signal, such as the
// scheduler's, arrived during Do: a collection sends that thread another signal,
// which overwrites them. So the Sweeper collects twice shortly after the last use,
// even of code that allocates nothing. It owns one goroutine.
type Sweeper struct {
	collect func()
	uses    atomic.Uint64
	pending atomic.Bool
	wake    chan struct{} // capacity 1; holds an element only while pending
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

// Touch records that a secret was just used inside Do. It never blocks.
func (s *Sweeper) Touch() {
	s.uses.Add(1)
	if !s.pending.Load() && s.pending.CompareAndSwap(false, true) {
		s.wake <- struct{}{}
	}
}

// Close stops the goroutine and waits for it, without a pending collection: call
// it in a process about to end, or after Sweep. Afterwards Touch does nothing, and
// Close must not be called again.
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
		s.pending.Store(false) // a later use requests another sweep
		s.Sweep()
	}
}

// settle waits until no secret was used for sweepAfter, but at most sweepAtLeast.
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

// Sweep collects now, as the Sweeper does after the last use, and returns when
// unreachable secrets have been erased.
func (s *Sweeper) Sweep() {
	for i := range sweepTimes {
		if i > 0 {
			time.Sleep(sweepGap)
		}
		s.collect()
	}
}
