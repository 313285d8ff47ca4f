package guard

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestATracerIsSeen: the process, not the thread of it that traces, is named; let
// go, the traced one is untraced.
func TestATracerIsSeen(t *testing.T) {
	runtime.LockOSThread() // all of ptrace belongs to one thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Stopped() {
		t.Fatalf("%v, %v", ws, err)
	}
	err := Untraced(pid)
	var e *TracedError
	if !errors.As(err, &e) || e.PID != pid || e.Tracer != os.Getpid() || e.Program == "" {
		t.Errorf("%+v", err)
	}
	if e != nil && !strings.Contains(e.Error(), e.Program) {
		t.Errorf("it doesn't name the program: %v", e)
	}
	if err := syscall.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	if err := Untraced(pid); err != nil {
		t.Errorf("let go: %v", err)
	}
}

func TestNobodyTracesTheTests(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w.fd)
	for range 2 { // it can be read again
		if err := errors.Join(UntracedSelf(), w.Untraced()); err != nil {
			t.Error(err)
		}
	}
	if err := Untraced(1 << 30); err != nil {
		t.Errorf("a process that isn't there: %v", err)
	}
	if Traceable() {
		t.Error("a build can be traced without the linker's doing")
	}
}

func TestTracerIn(t *testing.T) {
	const head = "Name:\tx\nUmask:\t0077\nState:\tR (running)\nTgid:\t1\nNgid:\t0\nPid:\t1\nPPid:\t0\n"
	for name, c := range map[string]struct {
		status string
		want   int
		bad    bool
	}{
		"nobody":           {head + "TracerPid:\t0\nUid:\t0\n", 0, false},
		"somebody":         {head + "TracerPid:\t4711\nUid:\t0\n", 4711, false},
		"no such field":    {head + "Uid:\t0\n", 0, true},
		"cut off":          {head + "TracerPid:\t47", 0, true},
		"not a number":     {head + "TracerPid:\tx\n", 0, true},
		"in its own name":  {"Name:\tTracerPid:\t0\n" + head + "TracerPid:\t5\n", 5, false},
		"nothing, a hoax?": {"", 0, true},
	} {
		if got, err := tracerIn([]byte(c.status)); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func BenchmarkUntracedSelf(b *testing.B) {
	for b.Loop() {
		if err := UntracedSelf(); err != nil {
			b.Fatal(err)
		}
	}
}
