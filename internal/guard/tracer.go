package guard

import (
	"fmt"
	"os"
)

// A process that isn't dumpable can't be attached to, but whoever started it under
// ptrace(2) goes on tracing it and whatever it starts: they can read registers, in
// which secrets pass, step by step, although the memory is refused to them. So
// before a secret arrives, each process looks whether anybody traces it, and those
// around it look too: what a traced process sees is up to its tracer.

// TracedError says that a debugger or the like holds a thread of a process.
type TracedError struct {
	PID     int    // of the traced process
	Tracer  int    // its process id, or that of a thread of it
	Program string // its name, which it can choose; "" where that can't be seen
}

func (e *TracedError) Error() string {
	if e.Program == "" {
		return fmt.Sprintf("process %d is traced by process %d", e.PID, e.Tracer)
	}
	return fmt.Sprintf("process %d is traced by process %d (%q)", e.PID, e.Tracer, e.Program)
}

// traceable is "yes" in binaries that tests trace. Only a linker sets it (-ldflags
// -X), and only that of package sshtest: what a user can set would be of no use.
var traceable string

// Traceable reports whether this build lets itself be traced.
func Traceable() bool { return traceable == "yes" }

// Untraced returns a *TracedError when any thread of a process is traced. Another
// error says that it can't be seen, which for the caller's own process is as bad;
// of another process that can't be seen, or is gone, it returns nil. Nobody
// attaches to a process that isn't dumpable, so what was untraced stays that.
func Untraced(pid int) error {
	if Traceable() {
		return nil
	}
	tracer, err := tracerOf(pid)
	if err != nil {
		return fmt.Errorf("see whether process %d is traced: %w", pid, err)
	}
	if tracer == 0 {
		return nil
	}
	e := &TracedError{PID: pid}
	e.Tracer, e.Program = describe(tracer)
	return e
}

// UntracedSelf is Untraced for the caller's own process.
func UntracedSelf() error { return Untraced(os.Getpid()) }
