package asking

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/testing/sshtest"
)

// terminal is a pseudo-terminal with the test before it.
type terminal struct {
	*testing.T
	master, slave *os.File
	seen, all     []byte
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	number := 0
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100})
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that a read can end
	}
	if err != nil {
		t.Fatal(err)
	}
	tm := &terminal{T: t, master: os.NewFile(uintptr(fd), "/dev/ptmx")}
	t.Cleanup(func() { tm.master.Close() })
	if tm.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tm.slave.Close() })
	return tm
}

// expect waits until the terminal shows a text, and forgets what it showed before.
func (tm *terminal) expect(text string) {
	tm.Helper()
	_ = tm.master.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for {
		if i := bytes.Index(tm.seen, []byte(text)); i >= 0 {
			tm.seen = tm.seen[i+len(text):]
			return
		}
		n, err := tm.master.Read(buf)
		if err != nil {
			tm.Fatalf("it never showed %q: %v after %q", text, err, tm.seen)
		}
		tm.seen, tm.all = append(tm.seen, buf[:n]...), append(tm.all, buf[:n]...)
	}
}

// foreground returns the process group that has the terminal.
func (tm *terminal) foreground() int {
	tm.Helper()
	raw, err := tm.master.SyscallConn() // Fd would make reads that don't end
	group := 0
	if err == nil {
		_ = raw.Control(func(fd uintptr) { group, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	}
	if err != nil {
		tm.Fatal(err)
	}
	return group
}

func (tm *terminal) types(keys string) {
	tm.Helper()
	if _, err := tm.master.WriteString(keys); err != nil {
		tm.Fatal(err)
	}
}

// onTerminal is the environment in which vigild asks by pinentry on a terminal.
func onTerminal(tm *terminal) func(*sshtest.Home) []string {
	if _, err := os.Stat("/usr/bin/pinentry"); err != nil {
		tm.Skip("no pinentry is installed (make deps installs it)")
	}
	return func(*sshtest.Home) []string {
		return []string{"GPG_TTY=" + tm.slave.Name(), "TERM=xterm", "LANG=C.UTF-8", "DISPLAY=", "WAYLAND_DISPLAY=", "PATH=" + os.Getenv("PATH")}
	}
}

// runsOn has a program run in the foreground of a terminal of its own.
func runsOn(cmd *exec.Cmd, tm *terminal) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tm.slave, tm.slave, tm.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
}

// A real pinentry on the terminal where ssh waits: a wrong passphrase, then the right one.
func TestAPinentryOnTheTerminal(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", onTerminal(tm))
	cmd := p.ssh()
	runsOn(cmd, tm)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	tm.expect("use its key laptop.")
	tm.expect("Cancel")
	tm.types("wrong horse\r")
	tm.expect("Wrong passphrase. Try 2 of 3.")
	tm.expect("Cancel")
	tm.types(passphrase + "\r")
	tm.expect("in\r\n")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	p.noAskers()
	// The terminal is as it was.
	if mode, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS); err != nil || mode.Lflag&unix.ECHO == 0 || mode.Lflag&unix.ICANON == 0 {
		t.Errorf("the terminal was left without echo or line mode (%v)", err)
	}
}

// A pinentry that nobody answers is gone after a while, and leaves the terminal as it was.
func TestAPinentryThatNobodyAnswers(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "ask_timeout = \"2s\"\n", onTerminal(tm))
	before, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := p.ssh()
	runsOn(cmd, tm)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tm.expect("Cancel")
	tm.types("half a pass")
	if drawn, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS); err != nil || *drawn == *before {
		t.Errorf("pinentry changes no mode: this shows nothing (%v)", err)
	}
	tm.expect("\x1b[?1049l\x1b[?25h")
	if err := cmd.Wait(); err == nil {
		t.Error("it logged in")
	}
	p.noAskers()
	if after, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS); err != nil || *after != *before {
		t.Errorf("the terminal's mode was %v, is %v, %v", before, after, err)
	}
}

// A terminal is nobody's place whose foreground belongs to something else: pinentry would
// take what is typed for a shell, and the shell what is typed for pinentry.
func TestATerminalBelongsToItsForeground(t *testing.T) {
	tm, other := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", onTerminal(tm))
	shell := exec.Command("sh")
	runsOn(shell, tm)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shell.Process.Kill(); _ = shell.Wait() }()
	for name, run := range map[string]func(*exec.Cmd){
		"without a terminal":  func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} },
		"on another terminal": func(cmd *exec.Cmd) { runsOn(cmd, other) },
	} {
		cmd := p.ssh()
		run(cmd)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: it logged in", name)
		}
		if why, _ := p.why(); !strings.Contains(why, "; the terminal that GPG_TTY named then, ") {
			t.Errorf("%s: refused: %s", name, why)
		}
	}
}
