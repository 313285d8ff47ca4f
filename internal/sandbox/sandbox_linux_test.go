package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childMode names, in a child's environment, what it does once sandboxed.
const childMode = "VIGIL_SANDBOX_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(child(mode))
	}
	os.Exit(m.Run())
}

// child runs in a process of its own: it sandboxes itself, says so, waits for
// a byte on standard input, and then does what its mode says.
func child(mode string) int {
	if mode == "landlock" {
		return childLandlock()
	}
	run := forbidden[mode]
	if mode == "work" {
		run = prepareWork()
	}
	report, err := Apply()
	if err != nil {
		fmt.Println(err)
		return 3
	}
	fmt.Printf("sandboxed %+v\n", report)
	if _, err := unix.Read(0, make([]byte, 1)); err != nil {
		fmt.Println(err)
		return 4
	}
	if err := run(); err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	fmt.Println("done")
	return 0
}

// start runs this test binary as a child of a mode, without environment, as the
// front starts a keeper, and returns once it is sandboxed.
func start(t *testing.T, mode string, files ...*os.File) (cmd *exec.Cmd, in io.Writer, out *bufio.Reader) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = []string{childMode + "=" + mode, "GOTRACEBACK=none", "TZ=UTC", "GODEBUG=decoratemappings=0"}
	cmd.ExtraFiles = files
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", mode, errs.Bytes())
		}
	})
	out = bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if !strings.HasPrefix(line, "sandboxed") {
		t.Fatalf("%s: %q %v", mode, line, err)
	}
	return cmd, in, out
}

// forbidden are things a keeper must not be able to do.
var forbidden = map[string]func() error{
	"open a file":         func() error { return justErr(unix.Open("/dev/null", unix.O_RDONLY, 0)) },
	"make a socket":       func() error { return justErr(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)) },
	"connect":             func() error { return unix.Connect(3, &unix.SockaddrUnix{Name: "/nowhere"}) },
	"bind":                func() error { return unix.Bind(3, &unix.SockaddrUnix{Name: "@vigil-test"}) },
	"accept":              func() error { _, _, err := unix.Accept4(3, 0); return err },
	"run a program":       func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
	"fork":                func() error { return errno(unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)) },
	"ptrace":              func() error { return unix.PtraceAttach(1) },
	"read another memory": func() error { return justErr(unix.ProcessVMReadv(1, nil, nil, 0)) },
	"signal another":      func() error { return unix.Kill(1, unix.SIGTERM) },
	"signal its parent":   func() error { return unix.Tgkill(unix.Getppid(), unix.Getppid(), 0) },
	"become dumpable":     func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"raise a limit": func() error {
		return unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil)
	},
	"limit another": func() error { return unix.Prlimit(1, unix.RLIMIT_MEMLOCK, nil, &unix.Rlimit{}) },
	"map code": func() error {
		return justErr(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON))
	},
	"turn data into code": func() error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil // would look as if it was allowed
		}
		return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
	},
	"control a device":  func() error { return justErr(unix.IoctlGetInt(0, unix.TIOCOUTQ)) },
	"start io_uring":    func() error { return errno(unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)) },
	"duplicate":         func() error { return justErr(unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)) },
	"make shared files": func() error { return justErr(unix.MemfdCreate("x", 0)) },
	"change user":       func() error { return errno(unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0)) },
	"unshare":           func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"make a directory":  func() error { return unix.Mkdirat(unix.AT_FDCWD, "x", 0o700) },
	"remove a file":     func() error { return unix.Unlinkat(unix.AT_FDCWD, "x", 0) },
	"send a path":       func() error { return errno(unix.RawSyscall(unix.SYS_TRUNCATE, 0, 0, 0)) },
}

func justErr[T any](_ T, err error) error { return err }

func errno(_, _ uintptr, e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func TestForbiddenCallsKill(t *testing.T) {
	for name := range forbidden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := socket(t)
			cmd, in, out := start(t, name, l)
			if _, err := in.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("%v, said %q", err, said)
			}
			status := exit.Sys().(syscall.WaitStatus)
			if raceBuild && name == "open a file" && strings.HasPrefix(string(said), "refused: operation not permitted") {
				return
			}
			if !status.Signaled() || status.Signal() != unix.SIGSYS {
				t.Fatalf("ended with %v, said %q", exit, said)
			}
		})
	}
}

// socket returns a bound stream socket, for calls that need one.
func socket(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestEveryThreadIsSandboxed(t *testing.T) {
	cmd, _, _ := start(t, "fork")
	statuses, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
	if err != nil || len(statuses) < 2 {
		t.Fatalf("%d threads, %v", len(statuses), err)
	}
	for _, name := range statuses {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Seccomp:\t2\n", "NoNewPrivs:\t1\n"} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		f := strings.Fields(line)
		if strings.HasPrefix(line, "Max open files") && (f[3] != fmt.Sprint(maxFiles) || f[4] != fmt.Sprint(maxFiles)) {
			t.Error(line)
		}
		if strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0") {
			t.Error(line)
		}
	}
}

// TestLandlockAlone shows that the Landlock domain refuses by itself what the
// filter would kill for.
func TestLandlockAlone(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childMode + "=landlock"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.HasPrefix(out, []byte("no Landlock")) {
		t.Skip("this kernel has no Landlock")
	}
}

func childLandlock() int {
	abi, err := restrictAccess()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if abi == 0 {
		fmt.Println("no Landlock")
		return 0
	}
	for _, name := range []string{"/etc/passwd", "/proc/self/status", os.TempDir()} {
		if _, err := os.Open(name); !errors.Is(err, unix.EACCES) {
			fmt.Println("open", name, err)
			return 1
		}
	}
	if abi < 4 {
		return 0
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := unix.Connect(s, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.EACCES) {
		fmt.Println("connect", err)
		return 1
	}
	return 0
}

func TestAKeepersWorkGoesOn(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer func() { _ = ours.Close() }()
	cmd, in, out := start(t, "work", theirs)
	_ = theirs.Close()

	// A pipe that doesn't block, as descriptors from another Go process don't.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(r.Fd()), true); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pair[0], []byte{1}, unix.UnixRights(int(r.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if _, err := in.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	// Stopping and going on interrupts system calls.
	for range 3 {
		for _, s := range []os.Signal{unix.SIGSTOP, unix.SIGCONT} {
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	if _, err := w.Write([]byte("through a pipe")); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	said, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v, said %q", err, said)
	}
	if string(said) != "done\n" {
		t.Fatalf("said %q", said)
	}
}
