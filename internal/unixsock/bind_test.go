package unixsock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/paths"
	"vigil/internal/unixsock"
)

func TestBindLeavesWhatIsThere(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	l, err := unixsock.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("made %v, %v", info.Mode(), err)
	}
	if l.Activated() {
		t.Error("its own socket counts as the service manager's")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("more than the socket was made: %v", entries)
	}
	if _, err := unixsock.Bind(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a live socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := unixsock.Bind(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "kept" {
		t.Errorf("the file is %q, %v", text, err)
	}
	var long *paths.SocketPathError
	if _, err := unixsock.Bind(path + strings.Repeat("x", 200)); !errors.As(err, &long) {
		t.Errorf("a long path: %v", err)
	}
}

func TestInheritServesAndRemovesTheSocket(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	parent, err := unixsock.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parent.File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	child, err := unixsock.Inherit(fd, path)
	if err != nil {
		t.Fatal(err)
	}
	dial(t, path)
	c, peer, err := child.Accept()
	if err != nil || peer.PID != os.Getpid() {
		t.Fatalf("accepted %+v, %v", peer, err)
	}
	c.Close()
	if err := child.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	// A later socket at the same path is another one, and stays.
	again, err := unixsock.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	parent.Close()
	dial(t, path)
}

func TestInheritRefusesWhatDoesNotListen(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := unixsock.Inherit(fd, os.DevNull); !errors.Is(err, unixsock.ErrActivation) {
		t.Errorf("inherited %v, %v", l, err)
	}
}
