package server

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vigil/internal/keeper"
)

// signThrough has a security key sign, through the ssh-sk-helper that the front has
// started: it gets the key's handle from here alone. The wait for a touch holds this
// worker, one at a time of at least two, and ends with the helper.
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
	fd, err := w.receiveFD()
	if err != nil {
		return out, fmt.Errorf("%w: receive descriptor: %w", keeper.ErrBadRequest, err)
	}
	defer unix.Close(fd)
	s.deadlines.touch()
	key, err := e.acquire()
	if err != nil {
		return out, err
	}
	signed, err := key.SignThrough(helperConn{fdConn(fd), s}, out, q.Data, q.Provider)
	if err != nil {
		return out, tokenError(err)
	}
	return signed, nil
}

// helperConn is the conversation with ssh-sk-helper. What is read from it may take as long
// as a person does, and uses no key: the keeper's end doesn't wait for it.
type helperConn struct {
	fdConn
	server *server
}

func (c helperConn) Read(b []byte) (int, error) {
	c.server.busy.RUnlock()
	defer c.server.busy.RLock() // once the end has begun, this never returns
	return c.fdConn.Read(b)
}
