package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// server is the keeper's side: what it holds, and the workers that use it.
type server struct {
	report  Report
	vaultID id.Vault // all zero for the keeper of added keys
	slab    *guard.Slab
	sweeper *guard.Sweeper
	watch   *guard.Watch
	workers []*worker
	keys    *table

	signing atomic.Int32 // signatures under way: with one only, RSA may use another core

	busy    sync.RWMutex // held for reading by every request, for writing by the end
	quit    chan struct{}
	endOnce sync.Once

	deadlines deadlines
	locked    lock

	mu        sync.Mutex // guards what follows; never held while a key is used
	drafts    map[uint64]*draft
	lastDraft uint64
	vault     *vault
	file      *vaultfile.File // that the front gave last
}

// worker serves one connection on a thread of its own, in blocking reads: the
// shortest way from the front's write to a signature.
type worker struct {
	fd     int
	server *server
	buf    *guard.Buffer // requests are read into it: they may hold secrets
	large  *guard.Buffer // for one secret request that buf is too small for
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
	n, err := readAtLeast(w.fd, buf, headerLen)
	if err != nil {
		return err
	}
	size, err := ipc.Length(buf, maxMessage)
	if err != nil || size < 1 {
		return errProtocol
	}
	o, total := op(buf[ipc.HeaderLen]), ipc.HeaderLen+size
	body := buf[headerLen:min(n, total)]
	switch {
	case n > total:
		return errProtocol // a second request before our reply
	case n < total:
		body, err = w.readRest(o, body, size-1)
		if errors.Is(err, ErrFull) {
			return w.reply(w.header(), err)
		}
		if err != nil {
			return err
		}
	}
	return w.answer(o, body)
}

// readRest reads what didn't come with the first read. A body that is too large
// for the worker's buffer goes to guarded memory of its own if it may hold a
// secret, and else, as it does for ciphertext, to the heap.
func (w *worker) readRest(o op, have []byte, size int) ([]byte, error) {
	got := len(have)
	body := w.buf.Bytes()[headerLen:]
	switch {
	case size <= len(body):
	case o.secret():
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

// discard reads n bytes of a secret request that there is no room for, and
// wipes what it read of it: the connection stays usable.
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

// secret tells which requests carry bytes that must not reach the heap.
func (o op) secret() bool {
	switch o {
	case opAdd, opAddBound, opLock, opUnlock:
		return true
	}
	return false
}

// answer handles one request and writes the reply.
func (w *worker) answer(o op, body []byte) error {
	s := w.server
	s.busy.RLock()
	defer s.busy.RUnlock()
	out, err := w.header(), error(nil)
	if o.takesSecret() {
		err = s.untraced()
	}
	if err == nil {
		out, err = w.handle(o, body, out)
	}
	s.sweeper.Touch() // whatever came of it: what fails halfway leaves as much
	if o.secret() {
		guard.Wipe(body)
	}
	w.large.Free()
	w.large = nil
	return w.reply(out, err)
}

// header returns the reply's buffer with room for its header.
func (w *worker) header() []byte { return append(w.out[:0], make([]byte, headerLen)...) }

// reply writes out, which begins with a header's room, or err in its place.
func (w *worker) reply(out []byte, err error) error {
	if err != nil {
		text := err.Error()
		out = append(out[:headerLen], text[:min(len(text), maxErrorText)]...)
		out[ipc.HeaderLen] = byte(statusOf(err))
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)-ipc.HeaderLen))
	if cap(out) <= smallMessage {
		w.out = out
	}
	return writeFull(w.fd, out)
}

// handle appends the body of the reply to out.
func (w *worker) handle(o op, body, out []byte) ([]byte, error) {
	s := w.server
	r := wire.NewReader(body)
	switch o {
	case opSign:
		return s.sign(&r, out)
	case opAdd, opAddBound:
		return s.add(body, o == opAddBound, out)
	case opRemove:
		return out, s.remove(&r)
	case opRemoveAll:
		s.keys.removeAll()
		return out, nil
	case opLock:
		return out, s.lock(body)
	case opUnlock:
		return out, s.unlock(body)
	case opAttach:
		return w.attach(&r, out)
	case opFile:
		return out, s.takeFile(body)
	case opFileDelta:
		return out, s.changeFile(&r)
	case opLoad:
		return s.load(&r, out)
	case opSeal:
		return s.seal(&r, out)
	case opVerify:
		return s.verify(out)
	case opSealLine:
		return s.sealLine(&r, out)
	case opCollect:
		return s.collect(&r, out)
	case opDropDraft:
		number := r.Uint64()
		if r.End() != nil {
			return out, ErrBadRequest
		}
		return out, s.withDraft(number, func([]byte) error { return nil })
	case opDeks:
		return s.makeDeks(&r, out)
	case opRotation:
		return s.rotation(&r, out)
	case opDeadlines:
		return out, s.setDeadlines(&r)
	case opStats:
		return s.stats(out), nil
	}
	return out, fmt.Errorf("%w: unknown op %d", ErrBadRequest, o)
}

// sign is the request that everything else is for.
func (s *server) sign(r *wire.Reader, out []byte) ([]byte, error) {
	number, flags := r.Uint64(), r.Uint32()
	if r.Err() != nil {
		return out, ErrBadRequest
	}
	if s.locked.on() {
		return out, fmt.Errorf("%w: locked by ssh-add -x", ErrRefused)
	}
	e, ok := s.keys.get(number)
	if !ok {
		return out, ErrNoKey
	}
	s.deadlines.touch()
	s.signing.Add(1)
	defer s.signing.Add(-1)
	for {
		key, err := e.acquire()
		if err != nil {
			return out, err
		}
		signed, err := key.AppendSign(out, r.Rest(), flags, s.signing.Load() == 1)
		switch {
		case errors.Is(err, signer.ErrFreed): // evicted or removed since it was acquired
			continue
		case err != nil:
			return out, keyError(err)
		}
		return signed, nil
	}
}

// stats says how much there is of what.
func (s *server) stats(out []byte) []byte {
	all, open := s.keys.len()
	u := s.slab.Usage()
	out = wire.AppendUint32(out, uint32(all))
	out = wire.AppendUint32(out, uint32(open))
	out = wire.AppendUint64(out, uint64(u.Used))
	out = wire.AppendUint64(out, uint64(u.Mapped))
	return wire.AppendString(out, string(u.Kind))
}

// keyError gives an error of signer's the kind that the front branches on.
func keyError(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, signer.ErrUnsupported), errors.Is(err, signer.ErrSHA1), errors.Is(err, signer.ErrFlags):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	default:
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
}

func isFull(err error) bool { return errors.Is(err, guard.ErrFull) }
