package server

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// The keeper reads and writes raw descriptors, because the sandbox forbids the system
// calls that packages net and os make at set-up.

// fdConn is a raw descriptor as an io.ReadWriter.
type fdConn int

func (fd fdConn) Read(b []byte) (int, error)  { return readAtLeast(int(fd), b, 1) }
func (fd fdConn) Write(b []byte) (int, error) { return len(b), writeFull(int(fd), b) }

// readAtLeast reads until b has at least least bytes, and returns how many it has.
func readAtLeast(fd int, b []byte, least int) (n int, err error) {
	for n < least {
		m, err := unix.Read(fd, b[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, err
		case m == 0:
			return n, io.ErrUnexpectedEOF
		}
		n += m
	}
	return n, nil
}

func readFull(fd int, b []byte) error {
	_, err := readAtLeast(fd, b, len(b))
	return err
}

func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}
