//go:build linux && amd64

package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

const (
	homes    = 2 // that are tortured at the same time
	writers  = 3 // in each
	fewKeys  = 3 // of a writer: below, it only adds
	manyKeys = 8 // of a writer: from there on, it only edits and removes
	// longest is how long writers work before a kill, at most.
	longest = 80 * time.Millisecond
)

// victims are who gets killed, and how often of a hundred.
var victims = []struct {
	name  string
	share int
}{{"vigild", 30}, {"vigil-opener", 30}, {"keeper", 15}, {"vigilctl", 25}}

// TestKillAtRandomMoments kills vigild, keeper, opener and vigilctl while
// several vigilctl write.
func TestKillAtRandomMoments(t *testing.T) {
	t.Logf("%d kills, seed %d", *kills, *seed)
	for n := range homes {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) {
			t.Parallel()
			torture(t, rand.New(rand.NewPCG(*seed, uint64(n))), (*kills+n)/homes)
		})
	}
}

func torture(t *testing.T, rng *rand.Rand, want int) {
	h := newHome(t, worlds())
	h.start(false)
	h.init()
	killed := map[string]int{}
	var saved, failed int
	for done := 0; done < want; {
		victim := pick(rng)
		w := startWriters(h, rng)
		time.Sleep(time.Duration(rng.Int64N(int64(longest))))
		pid := w.find(victim)
		switch {
		case pid == h.daemon.pid:
			h.daemon.kill()
		case pid != 0:
			_ = syscall.Kill(pid, syscall.SIGKILL) // an opener may have ended by itself
		}
		s, f := w.stop()
		saved, failed = saved+s, failed+f
		if pid == 0 {
			continue
		}
		done++
		h.event = fmt.Sprintf("kill %d, of %s", done, victim)
		killed[victim]++
		recovered(h, victim, pid)
		if done%100 == 0 {
			t.Logf("%d kills; %d changes reported as saved, %d not", done, saved, failed)
		}
	}
	h.restart(false)
	t.Logf("%d kills %v; %d changes reported as saved, %d not; %d names", want, killed, saved, failed, h.ledger.size())
	if want > 20 && (saved == 0 || failed == 0 || len(killed) != len(victims)) {
		t.Errorf("the kills hit nothing: %v", slices.Sorted(maps.Keys(killed)))
	}
}

func pick(rng *rand.Rand) string {
	n := rng.IntN(100)
	for _, v := range victims {
		if n -= v.share; n < 0 {
			return v.name
		}
	}
	return victims[0].name
}

// recovered brings everything back after a kill, and looks at it.
func recovered(h *home, victim string, pid int) {
	switch victim {
	case "vigild":
		h.restart(false)
	case "keeper":
		deadline := time.Now().Add(patience)
		for h.status().Vaults[0].Keeper == pid && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		h.unlock()
		h.verify(false)
	default:
		h.verify(false)
	}
}

// group is several writers at work on one vault, each on keys of its own.
type group struct {
	h             *home
	ended         atomic.Bool
	wg            sync.WaitGroup
	saved, failed atomic.Int64

	mu      sync.Mutex
	rng     *rand.Rand
	running map[*os.Process]bool
}

func startWriters(h *home, rng *rand.Rand) *group {
	w := &group{h: h, rng: rng, running: map[*os.Process]bool{}}
	for n := range writers {
		own := rand.New(rand.NewPCG(rng.Uint64(), uint64(n)))
		w.wg.Go(func() {
			for !w.ended.Load() {
				if w.change(own, fmt.Sprintf("w%d-", n)).code == 0 {
					w.saved.Add(1)
				} else {
					w.failed.Add(1)
				}
			}
		})
	}
	return w
}

// change makes one change to the keys whose names have the prefix.
func (w *group) change(rng *rand.Rand, prefix string) result {
	names := w.h.ledger.known(prefix)
	choice := rng.IntN(4)
	switch {
	case len(names) < fewKeys:
		choice = rng.IntN(2)
	case len(names) >= manyKeys:
		choice = 2 + rng.IntN(2)
	}
	name := fmt.Sprintf("%s%d", prefix, w.h.ledger.size()+rng.IntN(1<<30))
	switch choice {
	case 0:
		return w.h.generate(name, w.watch)
	case 1:
		return w.h.add(name, w.watch)
	case 2:
		return w.h.edit(names[rng.IntN(len(names))], "comment-"+name, w.watch)
	}
	return w.h.remove(names[rng.IntN(len(names))], w.watch)
}

// watch notes a vigilctl that may be killed; the function it returns ends that.
func (w *group) watch(p *os.Process) (ended func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[p] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.running, p)
	}
}

// find returns the process to kill, 0 when there is none for a while.
func (w *group) find(victim string) int {
	for until := time.Now().Add(longest); time.Now().Before(until); time.Sleep(100 * time.Microsecond) {
		switch victim {
		case "vigild":
			return w.h.daemon.pid
		case "vigilctl":
			w.mu.Lock()
			for p := range w.running {
				w.mu.Unlock()
				return p.Pid
			}
			w.mu.Unlock()
		default:
			for _, pid := range sshtest.Children(w.h.daemon.pid) {
				if (sshtest.CommandName(pid) == "vigil-opener") == (victim == "vigil-opener") {
					return pid
				}
			}
		}
	}
	return 0
}

// stop waits until all writers have ended, and returns how many of their
// changes were reported as saved, and how many weren't.
func (w *group) stop() (saved, failed int) {
	w.ended.Store(true)
	w.wg.Wait()
	return int(w.saved.Load()), int(w.failed.Load())
}
