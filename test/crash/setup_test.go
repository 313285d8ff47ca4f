//go:build linux && amd64

package crash

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestInterruptedInit kills who makes a step of `vigilctl init`, at each step
// in turn. The next init makes the vault, or says that it is there.
func TestInterruptedInit(t *testing.T) {
	t.Parallel()
	count := 1
	for nth := 0; nth <= count; nth = next(nth) {
		h := newHome(t, worlds())
		h.start(true)
		h.daemon.tracer.arm(nth, 0)
		r := h.run(h.initArguments()...)
		s := h.daemon.tracer.disarm()
		if nth == 0 {
			count = s.seen
			t.Logf("init has %d steps", count)
			if r.code != 0 {
				t.Fatal(r)
			}
		}
		h.daemon.kill()
		h.start(false)
		if again := h.run(h.initArguments()...); again.code != 0 {
			if !strings.Contains(again.errors, "vault default exists") {
				t.Fatalf("after %v: %v", &s, again)
			}
			h.unlock()
		} else if r.code == 0 && s.hit != "" {
			t.Fatalf("after %v: init was done, and is done again", &s)
		}
		inUse(h, &s)
		h.daemon.kill()
		_ = os.RemoveAll(h.dir) // the cleanup comes late
	}
}

// next is the step after one: 0 counts them.
func next(nth int) int {
	if nth == 0 {
		return 1 + int(*seed%uint64(*setups))
	}
	return nth + *setups
}

// inUse writes to a vault that was just made, and starts the daemon again.
func inUse(h *home, s *shot) {
	h.t.Helper()
	if r := h.generate("first"); r.code != 0 {
		h.t.Fatalf("after %v: %v", s, r)
	}
	h.verify(false)
	h.restart(false)
}

// TestInterruptedUp kills who makes a step of the first `vigilctl up`: itself,
// the daemon it starts, or an opener. The next one ends with one vault, one key
// and no question.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	count := 1
	for nth := 0; nth <= count; nth = next(nth) {
		h := newHome(t, worlds())
		up := []string{"up", "--passphrase-file", h.passFile(0)}
		tr, s, code := h.upUnderFire(nth, up)
		if nth == 0 {
			count = s.seen
			t.Logf("up has %d steps", count)
			if code != 0 {
				t.Fatalf("up ended with %d", code)
			}
		}
		if r := h.run(up...); r.code != 0 {
			t.Fatalf("after %v: %v", &s, r)
		}
		keys := h.keys()
		if len(keys) != 1 {
			t.Errorf("after %v: %d keys, want the one that up makes", &s, len(keys))
		}
		h.sign(keys)
		h.files()
		if left, _ := os.ReadDir(h.path("state", "vigil")); hasPrefix(left, "setup-") {
			t.Errorf("after %v: the set-up isn't marked as done", &s)
		}
		h.must("down")
		(&daemon{pid: tr.root, tracer: tr}).wait() // the daemon of the first up, which is traced
		if t.Failed() {
			t.FailNow()
		}
		_ = os.RemoveAll(h.dir)
	}
}

// upUnderFire runs up with the nth step hit, and returns how it ended and what
// traces the daemon that it may have left.
func (h *home) upUnderFire(nth int, args []string) (*tracer, shot, int) {
	h.t.Helper()
	log, err := os.Create(h.path("ctl.log"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	cmd := h.command("vigilctl", args...)
	cmd.Stdout, cmd.Stderr = log, log
	tr, err := traceArmed(cmd, &shot{nth: nth})
	if err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-tr.rootDone:
	case <-time.After(patience):
		h.t.Fatal("up hangs")
	}
	return tr, tr.disarm(), tr.status.ExitStatus()
}

func hasPrefix(entries []os.DirEntry, prefix string) bool {
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			return true
		}
	}
	return false
}
