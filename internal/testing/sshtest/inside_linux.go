package sshtest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runInside runs the test program again with args and env as account a, and returns
// its exit status. This process is the subreaper of daemons that tests leave behind:
// it reaps those that end, so that no test takes a zombie for a living process, and
// kills the others.
func runInside(a account, args, env []string) (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become a subreaper: %w", err)
	}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.change {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: []uint32{uint32(a.gid)}}
	}
	// The death signal depends on the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The link, not the path: only its owner can see the test program's folder.
	inner, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil {
		return 0, fmt.Errorf("run the tests as %s: %w", a.name, err)
	}
	pid := inner.Pid
	if err := inner.Release(); err != nil {
		return 0, err
	}
	forwardSignals(pid)
	status, err := reapUntil(pid)
	if err != nil {
		return 0, err
	}
	if left := killChildren(); len(left) != 0 {
		fmt.Fprintf(os.Stderr, "sshtest: the tests left processes running: %s\n", strings.Join(left, ", "))
		if status == 0 {
			status = 1
		}
	}
	return status, nil
}

// forwardSignals forwards the signals that end a test run: `go test` sends SIGQUIT at
// its deadline, and the inner program's goroutines are those worth printing.
func forwardSignals(pid int) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}()
}

// reapUntil reaps children until pid has ended, and returns pid's status.
func reapUntil(pid int) (int, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for the tests: %w", err)
		case got != pid:
			continue
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
}

// endingTime is how long a process may outlive its parent: sshd's process with a
// session's rights learns from a closed socket that the other was killed.
const endingTime = 2 * time.Second

// killChildren kills and reaps this process's children until there are none (a killed
// child's children become ours), and returns the names of those that were alive.
func killChildren() []string {
	for deadline := time.Now().Add(endingTime); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for reaped := 1; reaped > 0; {
			var err error
			if reaped, err = syscall.Wait4(-1, nil, syscall.WNOHANG, nil); errors.Is(err, syscall.ECHILD) {
				return nil
			}
		}
	}
	var left []string
	for {
		for _, pid := range Children(os.Getpid()) {
			name := CommandName(pid)
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				left = append(left, fmt.Sprintf("%s (%d)", name, pid))
			}
		}
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(-1, &ws, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return left // ECHILD: all are gone
		}
	}
}
