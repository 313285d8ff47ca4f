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
	signed, err := key.SignThrough(fdConn(fd), out, q.Data, q.Provider)
	if err != nil {
		return out, tokenError(err)
	}
	return signed, nil
}
