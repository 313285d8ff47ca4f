package ask

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// What runs in one session has one origin; another session, or an ended process, has its own.
func TestOrigins(t *testing.T) {
	start := func(session bool) int {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	self, child, other := CallerOf(os.Getpid()), CallerOf(start(false)), CallerOf(start(true))
	if strings.HasSuffix(unitOf(os.Getpid()), ".service") {
		if self.Origin != other.Origin {
			t.Errorf("%q and %q run in one service", self.Origin, other.Origin)
		}
		return
	}
	if self.Origin != child.Origin || !strings.HasPrefix(self.Origin, "session ") || strings.HasSuffix(other.Origin, " of ") {
		t.Errorf("%q started %q", self.Origin, child.Origin)
	}
	if other.Origin == self.Origin || other.tty != 0 {
		t.Errorf("another session is %+v, this one %+v", other, self)
	}
	if gone := CallerOf(1 << 30); gone.Origin != fmt.Sprintf("process %d", 1<<30) || gone.front {
		t.Errorf("got %+v", gone)
	}
}
