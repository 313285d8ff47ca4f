package server

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keeper"
)

// seize traces one thread of a keeper until the thread has ended. It needs root, so
// that the keeper is traced and its front isn't.
func seize(t *testing.T, pid, thread int) {
	t.Helper()
	look := unix.WSTOPPED | unix.WALL
	if thread != pid {
		look |= unix.WEXITED // otherwise its parent waits for it
	}
	held := make(chan error)
	go func() {
		runtime.LockOSThread() // ptrace is per thread; this one ends with the tracer
		err := unix.PtraceSeize(thread)
		held <- err
		for err == nil {
			if err = unix.Waitid(unix.P_PID, thread, nil, look, nil); err == nil {
				_ = unix.PtraceCont(thread, 0) // stopped by a signal of Go's runtime
			}
		}
	}()
	switch err := <-held; {
	case errors.Is(err, unix.EPERM):
		t.Skip("only root may trace what isn't dumpable")
	case err != nil:
		t.Fatal(err)
	}
}

// TestATracedKeeperIsEnded: the front checks every thread of a keeper before it sends
// a secret.
func TestATracedKeeperIsEnded(t *testing.T) {
	c := start(t, id.Vault{})
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(c.PID()) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(entries, func(e os.DirEntry) bool { return e.Name() != strconv.Itoa(c.PID()) })
	thread, err := strconv.Atoi(entries[at].Name())
	if err != nil {
		t.Fatal(err)
	}
	seize(t, c.PID(), thread)
	_, err = c.Add(t.Context(), guarded(t, addBody(ed25519Key(t), "comment")), false)
	var traced *guard.TracedError
	if !errors.As(err, &traced) || traced.PID != c.PID() || traced.Tracer != os.Getpid() {
		t.Errorf("add: %v", err)
	}
	ended(t, c)
	if c.Traced() == nil {
		t.Error("it doesn't say why it was ended")
	}
}

// TestATracedKeeperEndsByItself: it checks from time to time, without a request, a
// deadline or its front.
func TestATracedKeeperEndsByItself(t *testing.T) {
	t.Parallel()
	k := startBare(t, id.Vault{})
	seize(t, k.child.PID(), k.child.PID())
	ended(t, k)
}

// TestATracedKeeperTakesNothing: the keeper checks by itself, inside its sandbox.
func TestATracedKeeperTakesNothing(t *testing.T) {
	for range 20 {
		k := startBare(t, id.Vault{})
		seize(t, k.child.PID(), k.child.PID())
		status, _, err := k.ask(keeper.OpAdd, addBody(ed25519Key(t), "comment"))
		ended(t, k)
		if err != nil { // it checked before the request
			continue
		}
		if status != keeper.StatusOf(keeper.ErrRefused) {
			t.Fatalf("status %d", status)
		}
		return
	}
	t.Fatal("no keeper got the request before its own check")
}
