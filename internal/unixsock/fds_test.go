package unixsock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/unixsock"
)

// end is one end of a socket pair, with plain descriptors or as a connection.
type end struct {
	send func(data []byte, fds ...int) error
	recv func(buf []byte, max int) (int, []int, error)
	shut func()
}

func raw(fd int) end {
	return end{
		func(data []byte, fds ...int) error { return unixsock.SendFDs(fd, data, fds...) },
		func(buf []byte, max int) (int, []int, error) { return unixsock.RecvFDs(fd, buf, max) },
		func() { unix.Close(fd) },
	}
}

func conn(t *testing.T, fd int) end {
	c, err := unixsock.Conn(fd)
	if err != nil {
		t.Fatal(err)
	}
	return end{
		func(data []byte, fds ...int) error { return unixsock.SendFDsConn(c, data, fds...) },
		func(buf []byte, max int) (int, []int, error) { return unixsock.RecvFDsConn(c, buf, max) },
		func() { c.Close() },
	}
}

// eachPair runs f with every mix of raw and connection ends.
func eachPair(t *testing.T, f func(t *testing.T, a, b end)) {
	for name, wrap := range map[string]func(t *testing.T, a, b int) (end, end){
		"raw to raw":   func(_ *testing.T, a, b int) (end, end) { return raw(a), raw(b) },
		"conn to raw":  func(t *testing.T, a, b int) (end, end) { return conn(t, a), raw(b) },
		"raw to conn":  func(t *testing.T, a, b int) (end, end) { return raw(a), conn(t, b) },
		"conn to conn": func(t *testing.T, a, b int) (end, end) { return conn(t, a), conn(t, b) },
	} {
		t.Run(name, func(t *testing.T) {
			x, y, err := unixsock.SocketPair()
			if err != nil {
				t.Fatal(err)
			}
			a, b := wrap(t, x, y)
			defer a.shut()
			defer b.shut()
			f(t, a, b)
		})
	}
}

// open returns n new descriptors of the file called name, closed at the end.
func open(t *testing.T, name string, n int) []int {
	var fds []int
	for range n {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

func TestDescriptorsArrive(t *testing.T) {
	name := t.TempDir() + "/f"
	os.WriteFile(name, []byte("content"), 0o600)
	eachPair(t, func(t *testing.T, a, b end) {
		for _, n := range []int{1, 2, unixsock.MaxFDs} {
			if err := a.send([]byte("take this"), open(t, name, n)...); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			m, fds, err := b.recv(buf, n)
			if err != nil || string(buf[:m]) != "take this" || len(fds) != n {
				t.Fatalf("%d: %q, %v, %v", n, buf[:m], fds, err)
			}
			for _, fd := range fds {
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("descriptor isn't close-on-exec: %v", err)
				}
				f := os.NewFile(uintptr(fd), "")
				if data, err := io.ReadAll(f); err != nil || string(data) != "content" {
					t.Errorf("%q, %v", data, err)
				}
				f.Close()
				break
			}
			for _, fd := range fds[1:] {
				unix.Close(fd)
			}
		}
	})
}

func TestDataWithoutDescriptorsAndItsEnd(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b end) {
		if err := a.send([]byte("words")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 3)
		n, fds, err := b.recv(buf, 1)
		if err != nil || string(buf[:n]) != "wor" || fds != nil {
			t.Fatalf("%q, %v, %v", buf[:n], fds, err)
		}
		a.shut()
		if n, _, err = b.recv(buf, 1); err != nil || string(buf[:n]) != "ds" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if _, _, err = b.recv(buf, 1); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
	})
}

// lowest is the number that the next descriptor gets: it grows by what leaks.
func lowest(t *testing.T) int {
	fd, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	return fd
}

func TestTooManyDescriptorsAreAllClosed(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b end) {
		fds := open(t, os.DevNull, 5)
		for _, max := range []int{0, 1, 4} {
			if err := a.send([]byte("x"), fds...); err != nil {
				t.Fatal(err)
			}
			before := lowest(t)
			if _, got, err := b.recv(make([]byte, 1), max); !errors.Is(err, unixsock.ErrTooManyFDs) || got != nil {
				t.Errorf("at most %d: %v, %v", max, got, err)
			}
			if now := lowest(t); now != before {
				t.Errorf("at most %d: descriptors from %d on stayed open", max, before)
			}
		}
		if err := a.send([]byte("x"), open(t, os.DevNull, unixsock.MaxFDs+1)...); !errors.Is(err, unixsock.ErrTooManyFDs) {
			t.Errorf("sending: %v", err)
		}
		if err := a.send(nil, fds...); err == nil {
			t.Error("descriptors without data were sent")
		}
	})
}

// A message larger than the socket's buffer arrives whole, its descriptors once.
func TestALongMessage(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b end) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		sent := make(chan error, 1)
		fds := open(t, os.DevNull, 1)
		go func() { sent <- a.send(data, fds...) }()
		var got []byte
		count := 0
		buf := make([]byte, 50_000)
		for len(got) < len(data) {
			n, fds, err := b.recv(buf, 1)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
			count += len(fds)
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
		if err := <-sent; err != nil || !bytes.Equal(got, data) || count != 1 {
			t.Errorf("%d bytes, %d descriptors, %v", len(got), count, err)
		}
	})
}

func TestALostPeerIsAnError(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b end) {
		b.shut()
		if err := a.send([]byte("x")); !errors.Is(err, unix.EPIPE) {
			t.Errorf("got %v", err)
		}
	})
}

func TestConnOfSomethingElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unixsock.Conn(fd); err == nil {
		t.Error("a TCP listener became a unix connection")
	}
	if err := unix.Close(fd); !errors.Is(err, unix.EBADF) {
		t.Errorf("it wasn't closed: %v", err)
	}
}
