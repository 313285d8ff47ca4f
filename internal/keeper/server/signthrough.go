package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/skhelper"
)

// maxPIN bounds a PIN in bytes: FIDO's (CTAP 2.1, section 6.5.1).
const maxPIN = 63

// signThrough has a security key sign, through the ssh-sk-helper that the front has
// started: it gets the key's handle, and a PIN that a person is asked for, from here
// alone. The wait for a touch holds this worker, one at a time of at least two, and ends
// with the helper.
func (w *worker) signThrough(body, out []byte) ([]byte, error) {
	s := w.server
	q, err := keeper.ReadSignThroughRequest(body)
	if err != nil {
		return out, err
	}
	if s.locked.on() {
		return out, fmt.Errorf("%w: locked by ssh-add -x", keeper.ErrRefused)
	}
	e, ok := s.keys.get(q.Key)
	if !ok {
		return out, keeper.ErrNoKey
	}
	fds, err := w.receiveFDs(2)
	if err != nil {
		return out, fmt.Errorf("%w: receive descriptors: %w", keeper.ErrBadRequest, err)
	}
	for _, fd := range fds {
		defer unix.Close(fd)
	}
	s.deadlines.touch()
	var pin []byte
	if len(fds) == 2 {
		buf, err := s.alloc(maxPIN + len("\r\n"))
		if err != nil {
			return out, err
		}
		defer buf.Free()
		if pin, err = readPIN(leisurely{fdConn(fds[1]), s}, buf); err != nil {
			return out, tokenError(err)
		}
	}
	key, err := e.acquire()
	if err != nil {
		return out, err
	}
	signed, err := key.SignThrough(leisurely{fdConn(fds[0]), s}, out, q.Data, q.Provider, pin)
	if err != nil {
		return out, tokenError(err)
	}
	return signed, nil
}

// readPIN reads r to its end into buf and returns the first line of it.
func readPIN(r io.Reader, buf *guard.Buffer) ([]byte, error) {
	b := buf.Bytes()
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		return nil, fmt.Errorf("a PIN of more than %d bytes is not supported", maxPIN)
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read the PIN: %w", err)
	}
	if end := bytes.IndexAny(b[:n], "\r\n"); end >= 0 {
		n = end
	}
	if n == 0 {
		return nil, skhelper.ErrNoPIN
	}
	return b[:n], nil
}

// leisurely is a descriptor whose other end takes as long as a person does. A read from it
// uses no key: the keeper's end doesn't wait for it.
type leisurely struct {
	fdConn
	server *server
}

func (c leisurely) Read(b []byte) (int, error) {
	c.server.busy.RUnlock()
	defer c.server.busy.RLock() // once the end has begun, this never returns
	return c.fdConn.Read(b)
}
