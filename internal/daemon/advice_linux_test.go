package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/guard"
)

// oldKernel in the environment of a keeper makes it run as on a kernel without Landlock.
const oldKernel = "TEST_OLD_KERNEL"

// forgetLandlock makes the kernel answer as one without Landlock.
func forgetLandlock() {
	err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{
			{Names: []string{"landlock_create_ruleset"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		}},
	})
	if err != nil {
		panic(err)
	}
}

// script writes a program that runs commands, and then this binary as args say.
func script(t *testing.T, commands, args string) (path string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/bash\n%s\nexec %s '%s' \"$@\"\n", commands, args, exe), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdviceOnAnOldKernel: doctor says what the keeper lacks.
func TestAdviceOnAnOldKernel(t *testing.T) {
	dev := deviceOf(t)
	dev.exe = script(t, "export "+oldKernel+"=1", "")
	dev.start()
	dev.init("")
	wantAdvice(t, dev.doctorSays("keeper"), fmt.Sprintf("pid %d runs without Landlock", dev.status().Keeper),
		"Nothing to do but a newer kernel; docs/threat-model.md says what is weaker.")
}

// TestAdviceAboutABinaryThatCanBeRead by its user, who isn't root.
func TestAdviceAboutABinaryThatCanBeRead(t *testing.T) {
	dev := newDevice(t)
	dev.d.o.Hardening = guard.Hardening{Undumpable: true, NoCore: true}
	var checks []checkup.Check
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // of which alone the user changes
		defer runtime.UnlockOSThread()
		euid := func(uid int) {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
				t.Fatal(errno)
			}
		}
		euid(65534)
		checks = dev.d.examine()
		euid(0)
	} else {
		checks = dev.d.examine()
	}
	want := checkup.Warning("hardening", "Install vigild with mode 0111 (make build does), then restart it.",
		"the daemon could be read by other programs of its user until it had started")
	if !slices.Contains(checks, want) {
		t.Errorf("doctor says %+v", checks)
	}
}

// TestAdviceAboutAChangeElsewhere between an edit's begin and its look at the backend.
func TestAdviceAboutAChangeElsewhere(t *testing.T) {
	gates := t.TempDir()
	closed, reached, open := filepath.Join(gates, "closed"), filepath.Join(gates, "reached"), filepath.Join(gates, "open")
	if err := errors.Join(unix.Mkfifo(reached, 0o600), unix.Mkfifo(open, 0o600)); err != nil {
		t.Fatal(err)
	}
	a := deviceOf(t)
	a.opener = script(t, fmt.Sprintf("if [ -e '%s' ]; then rm '%[1]s'; echo > '%s'; read <'%s'; fi", closed, reached, open), "-a vigil-opener")
	a.start()
	a.init("")
	a.generate("work")
	b := a.beside("b")
	b.unlock()
	if err := os.WriteFile(closed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	edited, here, elsewhere := make(chan error, 1), "here", "elsewhere"
	go func() { edited <- fails(a, &control.EditRequest{Key: "work", Comment: &here}) }()
	if _, err := os.ReadFile(reached); err != nil {
		t.Fatal(err)
	}
	must(b, &control.EditRequest{Key: "work", Comment: &elsewhere})
	if err := os.WriteFile(open, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantAdvice(t, received(t, "the edit", edited), `key "work" was changed elsewhere meanwhile; nothing was changed here`, "Look at it, and try again.")
}
