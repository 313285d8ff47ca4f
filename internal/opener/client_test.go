package opener

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/testing/tracer"
	"vigil/internal/wire"
)

// An opener that ends before its hello causes an error, not an endless wait.
func TestStartOfOneThatEnds(t *testing.T) {
	exe, err := exec.LookPath("true")
	if err != nil {
		t.Skip(err)
	}
	if c, err := At(exe).Start(t.Context(), id.Vault{}); err == nil {
		c.Close()
		t.Error("a program that says nothing was taken for an opener")
	}
}

// An opener that hangs in an unattended job doesn't block its vault.
func TestOneThatHangsIsKilled(t *testing.T) {
	conn, theirs, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	child, err := ipc.Start(path, []string{"sleep", "600"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{patience: time.Millisecond, child: child, conn: conn, stop: func() bool { return true }}
	defer c.Close()
	_, err = Do(t.Context(), c, &Fetch{}, Seen{}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Unreachable ||
		e.Message != "nothing was heard for 1ms: a folder or a file of the backend, the master key or the AWS configuration doesn't answer" ||
		e.Next != "Check whether their file systems can be reached." {
		t.Errorf("got %+v", e)
	}
	<-c.child.Done()
}

// An opener of another build is told apart by its hello.
func TestOneOfAnotherBuild(t *testing.T) {
	hello := wire.AppendString(wire.AppendString(wire.AppendString(nil, "0123"), ipc.Opener), make([]byte, len(id.Vault{})))
	var octal strings.Builder
	for _, b := range wire.AppendString(nil, hello) {
		fmt.Fprintf(&octal, "\\%03o", b)
	}
	exe := filepath.Join(t.TempDir(), "vigil-opener")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%s' >&%d\nexec cat <&%[2]d\n", octal.String(), FrontFD)
	if err := os.WriteFile(exe, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := At(exe).Start(t.Context(), id.Vault{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != OtherBuild || !strings.HasPrefix(e.Message, "vigil-opener is not of vigild's build: ") ||
		!strings.Contains(e.Message, `build "0123"`) || e.Next != "Restart the daemon: vigilctl down, then vigilctl up." {
		t.Errorf("got %+v, %v", e, err)
	}
}

// While this process is traced, no opener gets anything.
func TestATracedFrontStartsNone(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tracer.Self(t)
	_, err = At(exe).Start(t.Context(), id.Vault{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Traced || !strings.Contains(e.Message, "is traced by process") ||
		e.Next != "End that program, and restart the daemon: vigilctl down, then vigilctl up. It could see what passes through." {
		t.Errorf("got %+v, %v", e, err)
	}
}
