package guard

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSweeperCollectsTwiceAfterTheLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collections atomic.Int32
		s := newSweeper(func() { collections.Add(1) })
		defer s.Close()
		for range 5 { // a burst keeps putting it off
			s.Touch()
			time.Sleep(sweepAfter / 2)
		}
		if n := collections.Load(); n != 0 {
			t.Fatalf("%d collections during a burst", n)
		}
		time.Sleep(2*sweepAfter + sweepGap)
		synctest.Wait()
		if n := collections.Load(); n != sweepTimes {
			t.Fatalf("%d collections after a burst", n)
		}
		time.Sleep(time.Minute)
		if n := collections.Load(); n != sweepTimes {
			t.Fatalf("%d collections while idle", n)
		}
		s.Touch()
		time.Sleep(2*sweepAfter + sweepGap)
		synctest.Wait()
		if n := collections.Load(); n != 2*sweepTimes {
			t.Fatalf("%d collections after another use", n)
		}
	})
}

func TestSweeperCollectsUnderLastingUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collections atomic.Int32
		s := newSweeper(func() { collections.Add(1) })
		defer s.Close()
		for range 310 {
			s.Touch()
			time.Sleep(10 * time.Millisecond)
		}
		if n := collections.Load(); n < 2*sweepTimes || n > 4*sweepTimes {
			t.Fatalf("%d collections in 3 s", n)
		}
	})
}

func TestSweepCollectsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collections atomic.Int32
		s := newSweeper(func() { collections.Add(1) })
		s.Sweep()
		if n := collections.Load(); n != sweepTimes {
			t.Fatalf("%d collections", n)
		}
		s.Touch()
		s.Close() // doesn't wait for what is due
		if n := collections.Load(); n != sweepTimes {
			t.Fatalf("%d collections after Close", n)
		}
	})
}
