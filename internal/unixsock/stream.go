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

// Stream is a connection for many small messages. It reads and writes like the
// connection, including deadlines, at less cost (see guard.ReadNow). It can also
// transfer what needs no waiting without a deadline, which would cost more than the
// transfer. Only one goroutine may read at a time, and one write.
type Stream struct {
	*net.UnixConn
	raw     syscall.RawConn
	in, out transfer
	// Made once, because a closure for each call would be garbage.
	read, readReady, write, writeReady func(fd uintptr) bool
}

// transfer is a read or write in progress.
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

// one transfers what it can without waiting, and reports whether it made progress: an
// end or an error counts, too.
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

// all transfers the rest, and reports whether it is done or has failed.
func (t *transfer) all(fd uintptr) bool {
	for t.n < len(t.b) && t.err == nil {
		if !t.one(fd) {
			return false
		}
	}
	return true
}

// run transfers b with f, which it calls whenever the connection is ready, until f
// reports that it is done.
func (t *transfer) run(wait func(func(fd uintptr) bool) error, f func(fd uintptr) bool, b []byte) (int, error) {
	t.b, t.n, t.err = b, 0, nil
	err := wait(f)
	t.b = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

// Read reads available data, or waits for some; see [net.Conn].
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.in.run(s.raw.Read, s.read, b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// ReadReady reads available data without waiting: 0 bytes without an error mean no
// data yet, or the end. It ignores a deadline that hasn't passed.
func (s *Stream) ReadReady(b []byte) (int, error) { return s.in.run(s.raw.Read, s.readReady, b) }

// Write writes all of b; see [net.Conn].
func (s *Stream) Write(b []byte) (int, error) { return s.out.run(s.raw.Write, s.write, b) }

// WriteReady writes as much of b as it can without waiting, and returns that number.
func (s *Stream) WriteReady(b []byte) (int, error) {
	return s.out.run(s.raw.Write, s.writeReady, b)
}

// AwaitHangup waits until the peer has closed its end, and returns nil. It reads
// nothing, even if data is left. At the read deadline it returns an error. No other
// goroutine may read in the meantime.
func (s *Stream) AwaitHangup() error {
	return s.raw.Read(func(fd uintptr) bool { // called again whenever data arrives
		p := []unix.PollFd{{Fd: int32(fd), Events: hangup}}
		n, err := unix.Poll(p, 0)
		return n > 0 && err == nil && p[0].Revents&hangup != 0
	})
}
