package unixsock_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/paths"
	"vigil/internal/unixsock"
)

// helper is the variable that makes this test binary play another process.
const helper = "UNIXSOCK_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "":
		os.Exit(m.Run())
	case "serve": // until killed
		if _, err := unixsock.Listen(os.Args[1], unixsock.Options{}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("serving")
		io.Copy(io.Discard, os.Stdin)
	case "activated":
		os.Exit(serveActivated())
	}
}

func listen(t *testing.T, path string, opts unixsock.Options) *unixsock.Listener {
	t.Helper()
	l, err := unixsock.Listen(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

// folder makes a folder whose whole path is safe, and short enough for sockets.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "unixsock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestListenMakesAFolderAndSocketOfItsOwn(t *testing.T) {
	path := filepath.Join(folder(t), "state", "run", "agent.sock")
	l := listen(t, path, unixsock.Options{})
	for name, want := range map[string]fs.FileMode{
		path:               fs.ModeSocket | 0o600,
		filepath.Dir(path): fs.ModeDir | 0o700,
	} {
		info, err := os.Lstat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	c := dial(t, path)
	got, peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if peer.PID != os.Getpid() || int(peer.UID) != os.Getuid() || int(peer.GID) != os.Getgid() {
		t.Errorf("peer is %+v", peer)
	}
	c.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, _, err := l.Accept(); !errors.Is(err, unixsock.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestOneProcessServes(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	listen(t, path, unixsock.Options{})
	if _, err := unixsock.Listen(path, unixsock.Options{}); !errors.Is(err, unixsock.ErrServing) {
		t.Errorf("second daemon: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first one's socket: %v", err)
	} else {
		c.Close()
	}
}

func TestALiveSocketOfAnotherProgramStays(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := unixsock.Listen(path, unixsock.Options{}); !errors.Is(err, unixsock.ErrServing) {
		t.Errorf("got %v", err)
	}
	dial(t, path)
}

func TestASocketOfAKilledDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), helper+"=serve")
	in, _ := cmd.StdinPipe()
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	n, _ := out.Read(said)
	if string(said[:n]) != "serving\n" {
		t.Fatalf("daemon says %q", said[:n])
	}
	if _, err := unixsock.Listen(path, unixsock.Options{}); !errors.Is(err, unixsock.ErrServing) {
		t.Errorf("while it lives: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the killed daemon left no socket: %v", err)
	}
	listen(t, path, unixsock.Options{})
	dial(t, path)
}

// Whoever starts at the same moment, over a stale socket: one serves, and the
// others are told so.
func TestStartingAtOnce(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	for range 20 {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		stale.Close()
		var wg sync.WaitGroup
		results := make(chan error, 16)
		serving := make(chan *unixsock.Listener, 16)
		for range cap(results) {
			wg.Go(func() {
				l, err := unixsock.Listen(path, unixsock.Options{})
				if err == nil {
					serving <- l
				}
				results <- err
			})
		}
		wg.Wait()
		close(results)
		for err := range results {
			if err != nil && !errors.Is(err, unixsock.ErrServing) {
				t.Error(err)
			}
		}
		if len(serving) != 1 {
			t.Fatalf("%d serve", len(serving))
		}
		dial(t, path)
		(<-serving).Close()
	}
}

func TestCloseLeavesASocketThatIsntItsOwn(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	l := listen(t, path, unixsock.Options{})
	os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.Close()
	dial(t, path)
}

// What others could use to put a socket of theirs in place is refused, and
// what is in the way is left there.
func TestUnsafePlaces(t *testing.T) {
	type place struct {
		name string
		make func(dir string) (path string)
		root bool
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []place{
		{"folder that others can enter", func(dir string) string {
			must(os.Mkdir(dir+"/run", 0o755))
			return dir + "/run/a.sock"
		}, false},
		{"folder is a symbolic link", func(dir string) string {
			must(os.Mkdir(dir+"/real", 0o700))
			must(os.Symlink(dir+"/real", dir+"/run"))
			return dir + "/run/a.sock"
		}, false},
		{"folder is a file", func(dir string) string {
			must(os.WriteFile(dir+"/run", nil, 0o700))
			return dir + "/run/a.sock"
		}, false},
		{"folder of somebody else", func(dir string) string {
			must(os.Mkdir(dir+"/run", 0o700))
			must(os.Chown(dir+"/run", 65534, 65534))
			return dir + "/run/a.sock"
		}, true},
		{"folder above is for a group to write", func(dir string) string {
			must(os.Mkdir(dir+"/up", 0o700))
			must(os.Chmod(dir+"/up", 0o770))
			must(os.Chown(dir+"/up", -1, 65534)) // nogroup, which has others
			return dir + "/up/run/a.sock"
		}, true},
		{"folder above the link's target is for all to write", func(dir string) string {
			must(os.MkdirAll(dir+"/up/real/run", 0o700))
			must(os.Chmod(dir+"/up", 0o777))
			must(os.Symlink(dir+"/up/real", dir+"/link"))
			return dir + "/link/run/a.sock"
		}, false},
		{"folder above of somebody else", func(dir string) string {
			must(os.Mkdir(dir+"/up", 0o711))
			must(os.Chown(dir+"/up", 65534, 65534))
			return dir + "/up/run/a.sock"
		}, true},
		{"a file in the way", func(dir string) string {
			must(os.WriteFile(dir+"/a.sock", []byte("mine"), 0o600))
			return dir + "/a.sock"
		}, false},
		{"a symbolic link in the way", func(dir string) string {
			must(os.Symlink(dir+"/elsewhere", dir+"/a.sock"))
			return dir + "/a.sock"
		}, false},
		{"a lock file that is a symbolic link", func(dir string) string {
			must(os.Symlink(dir+"/elsewhere", dir+"/a.sock.lock"))
			return dir + "/a.sock"
		}, false},
		{"a lock file of somebody else", func(dir string) string {
			must(os.WriteFile(dir+"/a.sock.lock", nil, 0o666))
			must(os.Chown(dir+"/a.sock.lock", 65534, 65534))
			return dir + "/a.sock"
		}, true},
		{"a socket of somebody else", func(dir string) string {
			stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/a.sock"})
			must(err)
			stale.SetUnlinkOnClose(false)
			stale.Close()
			must(os.Chown(dir+"/a.sock", 65534, 65534))
			return dir + "/a.sock"
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.root && os.Geteuid() != 0 {
				t.Skip("needs root to give files away")
			}
			dir := folder(t)
			path := tc.make(dir)
			before, _ := os.Lstat(path)
			_, err := unixsock.Listen(path, unixsock.Options{})
			if err == nil {
				t.Fatal("it serves")
			}
			// MkdirAll says itself that a file isn't a folder.
			if !errors.Is(err, unixsock.ErrUnsafe) && !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("got %v", err)
			}
			if after, _ := os.Lstat(path); (before == nil) != (after == nil) || before != nil && !os.SameFile(before, after) {
				t.Errorf("it changed what was there: %v, %v", before, after)
			}
			if _, err := os.Lstat(dir + "/elsewhere"); err == nil {
				t.Error("it followed a link")
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		_, err := unixsock.Listen("/tmp/"+strings.Repeat("x", 200), unixsock.Options{})
		var long *paths.SocketPathError
		if !errors.As(err, &long) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnyFolderTakesASharedOne(t *testing.T) {
	dir := folder(t)
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.sock")
	if _, err := unixsock.Listen(path, unixsock.Options{}); !errors.Is(err, unixsock.ErrUnsafe) {
		t.Errorf("without AnyFolder: %v", err)
	}
	listen(t, path, unixsock.Options{AnyFolder: true})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Root's own listener doesn't take others, who couldn't get past the mode.
func TestPeersOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("needs root, and one thread to become another user")
	}
	dir := folder(t)
	os.Chmod(dir, 0o755)
	path := filepath.Join(dir, "a.sock")
	l := listen(t, path, unixsock.Options{AnyFolder: true})
	os.Chmod(path, 0o666)
	dialed := make(chan error, 1)
	var foreign net.Conn
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its credentials
		if err := becomeNobody(); err != nil {
			dialed <- err
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err == nil {
			foreign, err = unixsock.Conn(fd)
		}
		dialed <- err
	}()
	if err := <-dialed; err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	_, peer, err := l.Accept()
	var refused *unixsock.ForeignPeerError
	if !errors.As(err, &refused) || peer.UID != 65534 || refused.Peer != peer {
		t.Fatalf("got %+v, %v", peer, err)
	}
	if n, err := foreign.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("its connection: %d, %v", n, err)
	}
	dial(t, path)
	if _, peer, err := l.Accept(); err != nil || peer.UID != 0 {
		t.Errorf("the next one: %+v, %v", peer, err)
	}
}

// Out of descriptors, Accept waits and goes on when there are some again.
func TestOutOfDescriptors(t *testing.T) {
	path := filepath.Join(folder(t), "a.sock")
	l := listen(t, path, unixsock.Options{})
	dial(t, path)
	var limit, low syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	low = limit
	low.Cur = uint64(next)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Open("/dev/null"); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("there still are descriptors: %v", err)
	}
	done := make(chan error)
	go func() {
		_, _, err := l.Accept()
		done <- err
	}()
	var got error
	closedEarly := false
	for range 1000 { // gives Accept the chance to fail; it is right without
		runtime.Gosched()
		select {
		case got = <-done:
			closedEarly = true
		default:
		}
	}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	if closedEarly {
		t.Fatalf("accepted without a descriptor: %v", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDescribe(t *testing.T) {
	p, err := unixsock.Describe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	exe, _ := os.Executable()
	if p.PID != os.Getpid() || p.Exe != exe || p.Program() != exe || p.Name == "" || !strings.Contains(p.String(), exe) {
		t.Errorf("this process is %+v, want %q", p, exe)
	}
	if got, err := unixsock.Describe(1 << 30); err == nil {
		t.Errorf("of nobody: %v", got)
	}
}
