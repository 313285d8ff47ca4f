//go:build linux && amd64

package crash

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// operation is one change; n makes its names differ. What prepare does, where
// there is one, isn't under fire.
type operation struct {
	name    string
	prepare func(h *home, n int)
	run     func(h *home, n int) result
}

// operations follow one another on the same key, so that a run leaves nothing.
var operations = []operation{
	{"generate", nil, func(h *home, n int) result { return h.generate(fmt.Sprintf("k-%d", n)) }},
	{"edit", aKey, func(h *home, n int) result { return h.edit(h.fresh(n), fmt.Sprintf("comment %d", n)) }},
	{"rm", aKey, func(h *home, n int) result { return h.remove(h.fresh(n)) }},
	{"rotate", aKey, func(h *home, _ int) result { return h.run("rotate") }},
	{"rotate --deks", aKey, func(h *home, _ int) result { return h.run("rotate", "--deks", "--passphrase-file", h.passFile(h.pass)) }},
	{"passphrase", aKey, func(h *home, _ int) result { return h.changePassphrase() }},
}

// aKey sees to it that there is a key to change.
func aKey(h *home, n int) { h.fresh(n) }

// fresh returns a key that is there for certain, made when there is none.
func (h *home) fresh(n int) string {
	if names := h.ledger.known("k-"); len(names) > 0 {
		return names[0]
	}
	name := fmt.Sprintf("k-%d-made", n)
	if r := h.generate(name); r.code != 0 {
		h.t.Fatal(r)
	}
	return name
}

// TestKillAtEveryStep kills the process that makes a step, at each step of
// each kind of change in turn.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	eachStep(t, *every, 0, func(h *home, s shot, r result) {
		if r.code == 0 && s.hit != "" {
			// Whoever was killed had nothing left to do for it.
			t.Logf("%v: reported as saved", &s)
		}
		h.restart(true)
		if strings.HasPrefix(s.op, "rotate") && r.code != 0 {
			h.must("rotate") // goes on where that one stopped
			h.verify(false)
		}
	})
}

// TestErrorAtEveryStep has each step fail as full, read-only and broken disks
// make it fail.
func TestErrorAtEveryStep(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			t.Parallel()
			swallowed := 0
			eachStep(t, *errs, errno, func(h *home, s shot, r result) {
				switch {
				case s.hit == "":
				case r.code == 0:
					swallowed++
					t.Logf("%v: reported as saved", &s)
					h.restart(true)
				case r.errors == "":
					t.Errorf("%v: nothing is shown", &s)
				default:
					h.reopen()
					h.verify(false)
				}
				later := fmt.Sprintf("l-%d", h.ledger.size())
				if r := h.generate(later); r.code != 0 {
					t.Fatalf("after %v: %v", &s, r)
				}
				if r := h.remove(later); r.code != 0 {
					t.Fatalf("after %v: %v", &s, r)
				}
			})
		})
	}
}

// eachStep runs each operation as often as it has steps, or as one in stride of
// them, with a later one failing each time, and calls after.
func eachStep(t *testing.T, stride int, errno syscall.Errno, after func(h *home, s shot, r result)) {
	h := newHome(t, worlds())
	h.start(true)
	h.init()
	h.underFire(operations, stride, errno, func(s shot, r result) { after(h, s, r) })
	h.restart(false)
	h.leavesNothing(h.path("data", "vigil", "vaults", "default"), h.path("data", "vigil", "keyrings", "default"))
}

// underFire runs the operations for eachStep in a home whose daemon is traced.
func (h *home) underFire(operations []operation, stride int, errno syscall.Errno, after func(s shot, r result)) {
	h.t.Helper()
	h.t.Logf("one step in %d, seed %d", stride, *seed)
	hits := 0
	for _, op := range operations {
		if *only != "" && op.name != *only {
			continue
		}
		s, r := h.shoot(op, 0, 0)
		if r.code != 0 {
			h.t.Fatal(r)
		}
		h.reopen()
		total := s.seen
		if total == 0 {
			h.t.Fatalf("%s changes nothing", op.name)
		}
		h.t.Logf("%s has %d steps", op.name, total)
		for nth := 1 + int(*seed%uint64(min(stride, total))); nth <= total; nth += stride {
			s, r := h.shoot(op, nth, errno)
			if s.hit != "" {
				hits++
			}
			h.event = fmt.Sprintf("%v; %v", &s, r)
			after(s, r)
			if h.t.Failed() {
				h.t.Fatalf("after %s", h.event)
			}
		}
	}
	h.t.Logf("%d steps hit", hits)
	if hits == 0 {
		h.t.Error("no step was hit")
	}
}

// shoot runs an operation whose nth step fails; with 0 it only counts them.
func (h *home) shoot(op operation, nth int, errno syscall.Errno) (shot, result) {
	h.t.Helper()
	n := h.ledger.size()
	if op.prepare != nil {
		op.prepare(h, n)
	}
	h.daemon.tracer.arm(nth, errno)
	r := op.run(h, n)
	s := h.daemon.tracer.disarm()
	s.op = op.name
	return s, r
}

// leavesNothing checks that later writes tidy the folders away that killed ones
// left temporary files in: each of its own file.
func (h *home) leavesNothing(dirs ...string) {
	h.t.Helper()
	if r := h.generate("last"); r.code != 0 { // vault file and deks
		h.t.Fatal(r)
	}
	h.must("rotate") // members
	for _, dir := range dirs {
		if left := leftovers(dir); len(left) > 0 {
			h.t.Errorf("later writes left the temporary files of killed ones: %q", left)
		}
	}
}
