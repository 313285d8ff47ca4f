// Package tracer has strace trace the process of a test, which then takes no secret.
package tracer

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"vigil/internal/guard"
)

// Self has strace trace this process until the returned function is called or the
// test ends. It skips the test where that can't be done.
func Self(t testing.TB) (untrace func()) {
	t.Helper()
	cmd := exec.Command("strace", "-qq", "-e", "trace=none", "-p", strconv.Itoa(os.Getpid()))
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	untrace = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			<-ended
		}
	}
	t.Cleanup(untrace)
	for guard.UntracedSelf() == nil {
		select {
		case err := <-ended:
			stopped = true
			t.Skipf("strace can't attach: %v", err)
		default:
		}
	}
	return untrace
}
