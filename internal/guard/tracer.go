package guard

import (
	"fmt"
	"os"
)

// A debugger can't attach to a process that isn't dumpable, but one that started
// the process under ptrace(2) goes on tracing it and its children. It can't read
// the memory, but it can single-step and read secrets from registers. So before a
// secret arrives, each process checks whether it is traced. The processes around
// it check too, because a tracer controls what the traced process sees.

// TracedError reports that a thread of a process is being traced.
type TracedError struct {
	PID     int    // of the traced process
	Tracer  int    // the tracer's process id, or the id of a thread of it
	Program string // the tracer's name, which it can choose; "" if unknown
}

func (e *TracedError) Error() string {
	if e.Program == "" {
		return fmt.Sprintf("process %d is traced by process %d", e.PID, e.Tracer)
	}
	return fmt.Sprintf("process %d is traced by process %d (%q)", e.PID, e.Tracer, e.Program)
}

// traceable is "yes" in binaries that tests trace. Package sshtest sets it at link time
// (-ldflags -X): a setting that a user can change would defeat the check.
var traceable string

// Traceable reports whether this build lets itself be traced.
func Traceable() bool { return traceable == "yes" }

// Untraced returns a *TracedError if any thread of a process is traced. Another
// error means that this can't be determined, which for the caller's own process is
// as bad. For another process that isn't visible or has ended it returns nil. A
// process that isn't dumpable can't be attached to, so it stays untraced.
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
