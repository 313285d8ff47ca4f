package aws

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// maxSteps bounds how many requests an init or an unlock may make here.
const maxSteps = 30

// lostFrom loses the network from the nth request on: before it arrives, or, with
// after, once it was carried out.
func (w *world) lostFrom(n int, after bool) *nth {
	c := &nth{at: map[int]awsfake.Fault{}}
	for i := n; i < n+maxSteps; i++ { // attempts repeat
		c.at[i] = awsfake.Fault{Drop: true, After: after && i == n}
	}
	w.cloud.SetFault(c.fault)
	return c
}

func (c *nth) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestNetworkLostInInit loses the network at each step of init. What is there
// then is either no vault, and init can be run again, or a whole one.
func TestNetworkLostInInit(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%t", after), func(t *testing.T) {
			w := newWorld(t)
			l := w.laptop(w.alice, `offline = "0"`)
			step := 1
			for ; step < maxSteps; step++ {
				c := w.lostFrom(step, after)
				r := l.Vigilctl(l.initArgs()...)
				w.cloud.SetFault(nil)
				if r.Status == sshtest.StatusDone {
					if c.count() >= step {
						t.Errorf("step %d: the network was lost, and init says nothing: %s", step, r)
					}
					break
				}
				if r.Status != sshtest.StatusUnreachable {
					t.Errorf("step %d: %s", step, r)
				}
				if v := l.Vault(); v.State != control.VaultMissing {
					t.Errorf("step %d: vault is %s", step, v.State)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("init makes %d requests", step-1)
			if step < 4 || step == maxSteps {
				t.Fatalf("init came through at step %d", step)
			}
			l.Unlock()
			l.AddKey("work")
			l.Signs("work")
			if n := len(w.s3.Versions(prefix + "/members")); n > 0 {
				t.Errorf("members was replaced %d times", n)
			}
		})
	}
}

// TestNetworkLostInUnlock loses the network at each step of an unlock: it fails,
// says so, and leaves nothing behind; with a kept share it unlocks without.
func TestNetworkLostInUnlock(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(fmt.Sprintf("offline=%t", offline), func(t *testing.T) {
			w := newWorld(t)
			settings := []string{`offline = "0"`}
			if offline {
				settings = nil
			}
			l := w.laptop(w.alice, settings...)
			l.OK(l.initArgs("--unlock")...)
			l.AddKey("work")
			l.OK("lock")
			l.Unlock() // keeps a share, unless that is off
			l.OK("lock")
			step := 1
			for ; step < maxSteps; step++ {
				c := w.lostFrom(step, false)
				r := l.Vigilctl(l.By("unlock")...)
				lost := c.count() >= step
				w.cloud.SetFault(nil)
				v := l.Vault()
				switch {
				case !lost:
					if r.Status != sshtest.StatusDone || v.Offline {
						t.Errorf("with a whole network: %s, %+v", r, v)
					}
				case offline:
					if r.Status != sshtest.StatusDone || !v.Offline {
						t.Errorf("step %d: %s, offline %t", step, r, v.Offline)
					}
					l.Signs("work")
				default:
					if r.Status != sshtest.StatusUnreachable || v.State != control.VaultLocked {
						t.Errorf("step %d: %s, vault is %s", step, r, v.State)
					}
				}
				l.OK("lock")
				if !lost {
					break
				}
			}
			t.Logf("unlock makes %d requests", step-1)
			if step != 5 { // members, deks, members again (is it the same still?), and a Decrypt
				t.Errorf("the network wasn't lost in every step: unlock came through at step %d", step)
			}
		})
	}
}

// TestNetworkLostInAdd loses the network at each step of saving a key. A key that
// was reported as saved is there; of one that wasn't, the vault is none the worse.
func TestNetworkLostInAdd(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	for _, after := range []bool{false, true} {
		for step := 1; step < maxSteps; step++ {
			name := fmt.Sprintf("key-%t-%d", after, step)
			c := w.lostFrom(step, after)
			r := l.Vigilctl("generate", name, "--comment", name)
			lost := c.count() >= step
			w.cloud.SetFault(nil)
			l.OK("refresh") // pushes what waits
			saved := r.Status == sshtest.StatusDone
			if err := l.Sign(name); saved && err != nil {
				t.Errorf("step %d: saved, and %v", step, err)
			}
			if v := l.Vault(); v.Problem != "" || v.Pending > 0 {
				t.Errorf("step %d: problem %q, %d pending", step, v.Problem, v.Pending)
			}
			if !lost {
				break
			}
		}
	}
	file, err := os.ReadFile(l.VaultFile())
	if err != nil || len(file) == 0 {
		t.Fatal(err)
	}
	before := len(l.Listed())
	l.Restart()
	l.Unlock()
	if n := len(l.Listed()); n != before {
		t.Errorf("after a restart %d keys are listed, and were %d", n, before)
	}
	if _, err := os.Stat(l.VaultFile() + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a temporary file is left")
	}
}
