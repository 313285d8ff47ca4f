package aws

import (
	"sync/atomic"
	"syscall"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// TestAnEditThatFailed: promises 6 and 7. An edit that restricts a key is kept on
// the device before it is stored. If the backend has refused it, it is over, and no
// later refresh makes it; if nobody has said whether it was stored, the next refresh
// settles it.
func TestAnEditThatFailed(t *testing.T) {
	conflict := awsfake.Fault{Status: 412, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold"}
	for name, tc := range map[string]struct {
		put    func(n int32, kill func()) awsfake.Fault // of the nth PutObject
		status int
		texts  []string
		made   bool // by the refresh, if not before
	}{
		"other writers are always first": {
			func(int32, func()) awsfake.Fault { return conflict },
			sshtest.StatusUnreachable,
			[]string{"other writers were first", "Nothing was changed"},
			false,
		},
		"refused": {
			func(int32, func()) awsfake.Fault {
				return awsfake.Fault{Status: 403, Code: "AccessDenied", Message: "Access Denied"}
			},
			sshtest.StatusRefused,
			[]string{"AccessDenied"},
			false,
		},
		"another writer was first, then nothing answers": {
			func(n int32, _ func()) awsfake.Fault {
				if n == 1 {
					return conflict
				}
				return awsfake.Fault{Drop: true}
			},
			sshtest.StatusUnreachable,
			[]string{"It may have been saved", "vigilctl refresh --vault default"},
			true,
		},
		"the opener dies after it was stored": {
			func(n int32, kill func()) awsfake.Fault {
				if n > 1 {
					kill()
				}
				return awsfake.Fault{Drop: true, After: true}
			},
			sshtest.StatusFailed,
			[]string{"It may have been saved"},
			true,
		},
		"the opener dies before": {
			func(_ int32, kill func()) awsfake.Fault {
				kill()
				return awsfake.Fault{Drop: true}
			},
			sshtest.StatusFailed,
			[]string{"It may have been saved"},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.laptop(w.alice, `offline = "0"`) // a change can't wait: it is made, or fails
			l.OK(l.initArgs("--unlock")...)
			l.AddKey("shared")
			var puts atomic.Int32
			w.cloud.SetFault(func(c awsfake.Call) awsfake.Fault {
				if c.Action != "s3:PutObject" {
					return awsfake.Fault{}
				}
				return tc.put(puts.Add(1), l.killOpener)
			})
			l.Fails(tc.status, tc.texts, "edit", "shared", "--confirm")
			w.cloud.SetFault(nil)

			l.OK("refresh")
			var list control.ListReply
			l.JSON(&list, "list")
			if v := l.Vault(); len(list.Keys) != 1 || list.Keys[0].State != control.KeyUsable || list.Keys[0].Confirm != tc.made || v.Pending != 0 || len(v.Missing) != 0 {
				t.Errorf("after the refresh: %d pending, missing %v, keys %+v", v.Pending, v.Missing, list.Keys)
			}
		})
	}
}

// killOpener ends the opener at its work, as the kernel does where memory is short.
func (l *laptop) killOpener() {
	for _, pid := range sshtest.Children(l.Agent.Process.Pid) {
		if sshtest.CommandName(pid) == "vigil-opener" {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
