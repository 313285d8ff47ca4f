package unixsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
)

// Stream is a connection that many small messages go over. It reads and writes
// as the connection does, deadlines included, at less cost (guard.ReadNow says
// why), and can do what needs no waiting without a deadline, which costs more
// than it. One goroutine reads at a time, and one writes.
type Stream struct {
	*net.UnixConn
	raw     syscall.RawConn
	in, out transfer
	// The four are made once: a closure for each call would be garbage.
	read, readReady, write, writeReady func(fd uintptr) bool
}

// transfer is a call under way.
type transfer struct {
	b    []byte
	n    int
	err  error
	call func(fd int, b []byte) (int, error)
}

// NewStream returns c as a Stream.
func NewStream(c *net.UnixConn) (*Stream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use connection: %w", err)
	}
	s := &Stream{UnixConn: c, raw: raw}
	s.in.call, s.out.call = guard.ReadNow, guard.WriteNow
	s.read = func(fd uintptr) bool { return s.in.one(fd) }
	s.write = func(fd uintptr) bool { return s.out.all(fd) }
	s.readReady = func(fd uintptr) bool { s.in.one(fd); return true }
	s.writeReady = func(fd uintptr) bool { s.out.all(fd); return true }
	return s, nil
}

// one transfers what it can at once, and reports whether there was anything, an
// end and an error included.
func (t *transfer) one(fd uintptr) bool {
	for {
		n, err := t.call(int(fd), t.b[t.n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false
		}
		t.n, t.err = t.n+n, err
		return true
	}
}

// all transfers the rest, and reports whether it's done or failed.
func (t *transfer) all(fd uintptr) bool {
	for t.n < len(t.b) && t.err == nil {
		if !t.one(fd) {
			return false
		}
	}
	return true
}

// run transfers b by way of f, which is called again whenever the connection is
// ready, until it says that it's done.
func (t *transfer) run(wait func(func(fd uintptr) bool) error, f func(fd uintptr) bool, b []byte) (int, error) {
	t.b, t.n, t.err = b, 0, nil
	err := wait(f)
	t.b = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

// Read reads what is there, or waits for it; see [net.Conn].
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.in.run(s.raw.Read, s.read, b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// ReadReady reads what is there and doesn't wait: 0 bytes without an error are
// nothing yet, or the end. It heeds no deadline that isn't over.
func (s *Stream) ReadReady(b []byte) (int, error) { return s.in.run(s.raw.Read, s.readReady, b) }

// Write writes all of b; see [net.Conn].
func (s *Stream) Write(b []byte) (int, error) { return s.out.run(s.raw.Write, s.write, b) }

// WriteReady writes as much of b as is taken at once, and returns how much that is.
func (s *Stream) WriteReady(b []byte) (int, error) {
	return s.out.run(s.raw.Write, s.writeReady, b)
}

// AwaitHangup waits until the peer sends no more and returns nil, whatever of
// what it sent before hasn't been read, and reads nothing of it. At the read
// deadline it returns an error. Nobody reads meanwhile.
func (s *Stream) AwaitHangup() error {
	return s.raw.Read(func(fd uintptr) bool { // again with all that comes
		p := []unix.PollFd{{Fd: int32(fd), Events: hangup}}
		n, err := unix.Poll(p, 0)
		return n > 0 && err == nil && p[0].Revents&hangup != 0
	})
}
