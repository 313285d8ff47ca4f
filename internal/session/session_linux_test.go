package session

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty returns a pseudo-terminal, and the device number of its slave.
func pty(t *testing.T) (master, slave *os.File, tty uint64) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	number := 0
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	var info unix.Stat_t
	if err := unix.Fstat(int(slave.Fd()), &info); err != nil {
		t.Fatal(err)
	}
	return master, slave, uint64(info.Rdev)
}

// leader starts the leader of a session on a terminal; end ends it.
func leader(t *testing.T, slave *os.File) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func TestASessionIsWhatTheKernelSays(t *testing.T) {
	var r Registry
	_, slave, tty := pty(t)
	pid, end := leader(t, slave)
	s, err := r.Register(pid, "xterm-256color")
	if err != nil {
		t.Fatal(err)
	}
	if s.Leader != pid || s.Start == "" || s.TTY != tty || s.Path != slave.Name() || s.Foreground() != pid {
		t.Errorf("registered %+v, want the session of process %d on %s", s, pid, slave.Name())
	}
	if r.Find(s.ID) != s || len(r.All()) != 1 {
		t.Error("it isn't found")
	}
	if r.Find(ID{pid, s.Start + "0"}) != nil {
		t.Error("a process with the leader's number, started at another time, is taken for it")
	}
	if _, err := r.Register(pid, "vt100"); err != nil || len(r.All()) != 1 {
		t.Errorf("registered again: %v, %d are", err, len(r.All()))
	}

	// Another session on a terminal with the same number isn't it.
	end()
	if r.Find(s.ID) != nil || len(r.All()) != 0 || s.Foreground() != 0 {
		t.Error("it has ended, and is still found")
	}
	other, _ := leader(t, slave)
	if p, ok := Look(other); !ok || p.TTY != tty || r.Find(p.ID()) != nil {
		t.Errorf("the terminal's next session is %+v, and registered", p)
	}
}

func TestWhatIsNoSession(t *testing.T) {
	var r Registry
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for _, pid := range []int{cmd.Process.Pid, 1 << 30, 0, -1} {
		if _, err := r.Register(pid, "xterm"); !errors.Is(err, ErrNoTerminal) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	_, slave, _ := pty(t)
	pid, _ := leader(t, slave)
	for _, term := range []string{"", "a b", "xterm\x1b[2J", "x\n", "ä", "../x", strings.Repeat("x", 65)} {
		if _, err := r.Register(pid, term); !errors.Is(err, errTerm) {
			t.Errorf("TERM %q: %v", term, err)
		}
	}
	if len(r.All()) != 0 {
		t.Error("something is registered")
	}
	for _, tty := range []uint64{unix.Mkdev(1, 3), unix.Mkdev(4, 0), unix.Mkdev(136, 1<<19), unix.Mkdev(143, 255)} {
		if path, err := pathOf(tty); err == nil {
			t.Errorf("device %x is %s", tty, path)
		}
	}
}

// The sessions that have ended make room; those that haven't, don't.
func TestSessionsAreBounded(t *testing.T) {
	var r Registry
	_, slave, _ := pty(t)
	pid, _ := leader(t, slave)
	s, err := of(pid)
	if err != nil {
		t.Fatal(err)
	}
	r.sessions = []*Session{{ID: ID{pid, "0"}}}
	for range maxSessions - 1 {
		r.sessions = append(r.sessions, s)
	}
	_, next, _ := pty(t)
	second, _ := leader(t, next)
	if _, err := r.Register(second, "xterm"); err != nil {
		t.Errorf("one has ended: %v", err)
	}
	_, last, _ := pty(t)
	third, _ := leader(t, last)
	if _, err := r.Register(third, "xterm"); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
