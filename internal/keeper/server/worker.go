package server

import (
	"encoding/binary"
	"errors"
	"runtime"

	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
)

const (
	// maxAgentBody is the largest body that comes from ssh, in bytes: one agent message.
	maxAgentBody = 256 << 10
	// maxErrorText is how much of an error's text is sent, in bytes.
	maxErrorText = 1 << 10
)

// worker serves one connection on its own thread with blocking reads: the shortest
// way from the front's write to a signature.
type worker struct {
	fd     int
	server *server
	buf    *guard.Buffer // for requests, which may contain secrets
	large  *guard.Buffer // for a secret request that doesn't fit buf
	out    []byte        // the reply, with room for its header
}

// run serves requests until the front closes the connection or breaks the protocol.
func (w *worker) run() {
	runtime.LockOSThread()
	for {
		if err := w.serveOne(); err != nil {
			return
		}
	}
}

var errProtocol = errors.New("front broke the protocol")

func (w *worker) serveOne() error {
	buf := w.buf.Bytes()
	n, err := readAtLeast(w.fd, buf, keeper.HeaderLen)
	if err != nil {
		return err
	}
	size, err := ipc.Length(buf, keeper.MaxMessage)
	if err != nil || size < 1 {
		return errProtocol
	}
	o, total := keeper.Op(buf[ipc.HeaderLen]), ipc.HeaderLen+size
	body := buf[keeper.HeaderLen:min(n, total)]
	switch {
	case n > total:
		return errProtocol // a second request before our reply
	case n < total:
		body, err = w.readRest(o, body, size-1)
		if errors.Is(err, keeper.ErrFull) {
			return w.reply(w.header(), err)
		}
		if err != nil {
			return err
		}
	}
	return w.answer(o, body)
}

// readRest reads the rest of a request. A body that doesn't fit the worker's buffer goes to
// guarded memory of its own if it may be secret, and otherwise (ciphertext) to the heap.
func (w *worker) readRest(o keeper.Op, have []byte, size int) ([]byte, error) {
	got := len(have)
	body := w.buf.Bytes()[keeper.HeaderLen:]
	switch {
	case size <= len(body):
	case o.Secret():
		if size > maxAgentBody {
			return nil, errProtocol
		}
		large, err := w.server.alloc(size)
		if err != nil {
			return nil, errors.Join(err, w.discard(size-got))
		}
		w.large = large
		body = large.Bytes()
		guard.Copy(body, have)
	default:
		body = make([]byte, size)
		copy(body, have)
	}
	return body[:size], readFull(w.fd, body[got:size])
}

// discard reads and wipes n bytes of a secret request for which there is no room, so
// that the connection stays usable.
func (w *worker) discard(n int) error {
	buf := w.buf.Bytes()
	defer guard.Wipe(buf)
	for n > 0 {
		part := buf[:min(n, len(buf))]
		if err := readFull(w.fd, part); err != nil {
			return errProtocol
		}
		n -= len(part)
	}
	return nil
}

// answer handles one request and writes the reply.
func (w *worker) answer(o keeper.Op, body []byte) error {
	s := w.server
	s.busy.RLock()
	defer s.busy.RUnlock()
	out, err := w.header(), error(nil)
	if o.Secret() || o == keeper.OpAttach {
		err = s.untraced()
	}
	if err == nil {
		out, err = w.handle(o, body, out)
	}
	s.sweeper.Touch() // also after an error, which leaves as many copies
	if o.Secret() {
		guard.Wipe(body)
	}
	w.large.Free()
	w.large = nil
	return w.reply(out, err)
}

// header returns the reply's buffer with room for the header.
func (w *worker) header() []byte { return append(w.out[:0], make([]byte, keeper.HeaderLen)...) }

// reply writes out, which begins with room for the header, or else err.
func (w *worker) reply(out []byte, err error) error {
	if err != nil {
		text := err.Error()
		out = append(out[:keeper.HeaderLen], text[:min(len(text), maxErrorText)]...)
		out[ipc.HeaderLen] = byte(keeper.StatusOf(err))
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)-ipc.HeaderLen))
	if cap(out) <= keeper.SmallMessage {
		w.out = out
	}
	return writeFull(w.fd, out)
}
