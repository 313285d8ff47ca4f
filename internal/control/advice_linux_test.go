package control

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/testing/tracer"
)

// TestAdviceAboutATracer: nothing is handed over while one could see it.
func TestAdviceAboutATracer(t *testing.T) {
	path := serve(t, &fake{})
	send := func(c *Client) error {
		_, err := Do(t.Context(), c, &UnlockRequest{Passphrase: pipe(t, "x")})
		return err
	}
	t.Run("of vigild", func(t *testing.T) {
		runtime.LockOSThread() // it is the tracer
		defer runtime.UnlockOSThread()
		traced := exec.Command("sleep", "600")
		traced.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		if err := traced.Start(); err != nil {
			t.Skip(err)
		}
		defer func() { _ = traced.Process.Kill(); _, _ = traced.Process.Wait() }()
		c := connect(t, path)
		c.daemon = traced.Process.Pid
		wantAdvice(t, send(c), fmt.Sprintf("vigild: process %d is traced by process …", c.daemon),
			"End that program, and restart the daemon: vigilctl down, then vigilctl up. Nothing was handed over.")
	})
	t.Run("of vigilctl", func(t *testing.T) {
		c := connect(t, path)
		tracer.Self(t)
		wantAdvice(t, send(c), fmt.Sprintf("process %d is traced by process …", os.Getpid()), "Run it without that program. Nothing was handed over.")
	})
}

// TestAdviceAboutAnotherUsersSocket: nothing is said to its program.
func TestAdviceAboutAnotherUsersSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can listen as another user")
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "c.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	listened := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends as nobody's
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			listened <- errno
			return
		}
		if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 1) }); err != nil {
			listened <- err
			return
		}
		listened <- err
	}()
	if err := <-listened; err != nil {
		t.Fatal(err)
	}
	_, err = Dial(t.Context(), l.Addr().String())
	wantAdvice(t, err, fmt.Sprintf("the control socket is served by process %d of uid %d", os.Getpid(), nobody),
		"Another user's program listens on your control socket: find out which.")
}
