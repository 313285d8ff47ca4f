package unixsock_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/unixsock"
)

// serveActivated plays a daemon that a service manager starts: it answers one
// connection on each socket with the socket's name.
func serveActivated() int {
	list, err := unixsock.Activated(os.Environ(), os.Getpid())
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	fmt.Println("sockets:", len(list))
	for _, l := range list {
		flags, _ := unix.FcntlInt(3, unix.F_GETFD, 0)
		c, _, err := l.Accept()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Fprintf(c, "%s %v %d", l.Name(), l.Activated(), flags)
		c.Close()
		l.Close()
	}
	return 0
}

// start runs serveActivated with sockets from descriptor 3 on.
func start(t *testing.T, env string, files ...*os.File) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", env+` exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), helper+"=activated")
	cmd.ExtraFiles = files
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	said := make([]byte, 1000)
	n, _ := out.Read(said)
	return cmd, string(said[:n])
}

func TestActivation(t *testing.T) {
	dir := folder(t)
	var files []*os.File
	for _, name := range []string{"agent", "control"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	cmd, said := start(t, `LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=agent:control`, files...)
	if said != "sockets: 2\n" {
		t.Fatalf("got %q", said)
	}
	for _, name := range []string{"agent", "control"} {
		c := dial(t, filepath.Join(dir, name))
		if p, err := unixsock.PeerOf(c); err != nil || p.PID != cmd.Process.Pid {
			t.Errorf("%s is served by %d, %v, want the process that was activated, %d", name, p.PID, err, cmd.Process.Pid)
		}
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(answer), name+" true") {
			t.Errorf("%s answers %q, %v", name, answer, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("the service manager's socket: %v", err)
		}
	}
}

func TestActivationRefusesOtherDescriptors(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	for name, f := range map[string]*os.File{"a file": null, "a TCP socket": tcpFile} {
		if _, said := start(t, `LISTEN_PID=$$ LISTEN_FDS=1`, f); !strings.HasPrefix(said, "refused: socket activation") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

func TestActivationVariables(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for _, env := range [][]string{
		nil,
		{"LISTEN_FDS=1"},
		{"LISTEN_FDS=1", "LISTEN_PID=1"},
		{"LISTEN_FDS=0", "LISTEN_PID=" + me},
		{"LISTEN_PID=" + me},
	} {
		if list, err := unixsock.Activated(env, os.Getpid()); err != nil || len(list) != 0 {
			t.Errorf("%v: %v, %v", env, list, err)
		}
	}
	for _, env := range [][]string{
		{"LISTEN_FDS=x", "LISTEN_PID=" + me},
		{"LISTEN_FDS=-1", "LISTEN_PID=" + me},
		{"LISTEN_FDS=1000000", "LISTEN_PID=" + me},
		{"LISTEN_FDS=1", "LISTEN_PID=" + me, "LISTEN_FDNAMES=a:b"},
	} {
		if _, err := unixsock.Activated(env, os.Getpid()); !errors.Is(err, unixsock.ErrActivation) {
			t.Errorf("%v: %v", env, err)
		}
	}
}
