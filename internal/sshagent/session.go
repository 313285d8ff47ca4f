package sshagent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/pubkey"
)

// Errors that end a connection.
var (
	// ErrFrame reports a length of zero or more than agentproto.MaxMessage: where
	// the next message begins is unknown.
	ErrFrame = errors.New("message length out of range")

	// ErrPanic reports that answering a request panicked. The stack is logged.
	ErrPanic = errors.New("the session failed")
)

// session is one connection. It runs in Serve's goroutine only, so that replies
// are sent in the order of their requests.
type session struct {
	agent *Agent
	conn  Conn
	peer  Peer
	path  policy.Path

	header [agentproto.HeaderLen]byte
	have   int // bytes of header already read

	hurried bool // a read deadline is set
	arrival arrival
}

// scratch holds a request and its reply. Connections share a pool of them, and an
// idle connection has none.
type scratch struct {
	in, out []byte
}

func newScratch() *scratch {
	return &scratch{in: make([]byte, 0, smallBuffer), out: make([]byte, 0, smallBuffer)}
}

// Serve answers the requests of one connection until the peer or ctx ends it,
// and closes conn. It returns nil after an orderly end. A panic ends only this
// connection, with ErrPanic.
func (a *Agent) Serve(ctx context.Context, conn Conn, peer Peer) (err error) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer func() {
		if r := recover(); r != nil {
			a.logPanic(r)
			err = ErrPanic
		}
	}()
	s := &session{agent: a, conn: conn, peer: peer}
	s.arrival.conn, s.arrival.pid = conn, peer.PID
	err = s.run(ctx)
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (s *session) run(ctx context.Context) error {
	for {
		number, size, err := s.readHeader()
		if err != nil {
			return err
		}
		if s.agent.verbose {
			s.agent.o.Log.Debug("request", "number", number, "size", size, "pid", s.peer.PID)
		}
		if agentproto.Secret(number) {
			err = s.answerSecret(ctx, number, size)
		} else {
			err = s.answerPlain(ctx, number, size)
		}
		if err != nil {
			return err
		}
	}
}

// readHeader waits for a message and reads its length and type, and not a byte
// more: the next one may belong to a secret. It returns the type and the body's
// size, or io.EOF if the connection ends before the first byte.
func (s *session) readHeader() (number byte, size int, err error) {
	h := s.header[:]
	for s.have == 0 { // idle, without a deadline
		if s.have, err = s.conn.Read(h); err != nil && s.have == 0 {
			return 0, 0, err
		}
	}
	if s.have < len(h) {
		if err := s.receiveBy(); err != nil {
			return 0, 0, err
		}
		if s.have < 4 {
			if _, err := io.ReadFull(s.conn, h[s.have:4]); err != nil {
				return 0, 0, fmt.Errorf("read a message's length: %w", noEOF(err))
			}
			s.have = 4
		}
	}
	length := binary.BigEndian.Uint32(h)
	if length == 0 || length > agentproto.MaxMessage {
		return 0, 0, ErrFrame
	}
	if s.have < len(h) {
		if _, err := io.ReadFull(s.conn, h[4:]); err != nil {
			return 0, 0, fmt.Errorf("read a message's type: %w", noEOF(err))
		}
		if length == 1 {
			if err := s.receiveAtLeisure(); err != nil {
				return 0, 0, err
			}
		}
	}
	s.have = 0
	return h[4], int(length) - 1, nil
}

// answerPlain reads a message that carries no secret, and answers it.
func (s *session) answerPlain(ctx context.Context, number byte, size int) error {
	b := s.agent.scratch.Get().(*scratch)
	defer func() {
		if cap(b.in) > keepBuffer || cap(b.out) > keepBuffer {
			b = newScratch()
		}
		s.agent.scratch.Put(b)
	}()
	defer s.agent.plain.end(&s.arrival)
	var err error
	if b.in, err = s.readBody(ctx, b, size); err != nil {
		return fmt.Errorf("read message %d: %w", number, err)
	}
	reply := s.handle(ctx, number, b.in, b.out[:0])
	if cap(reply) <= keepBuffer && number != agentproto.MsgRequestIdentities {
		b.out = reply[:0]
	}
	return s.send(reply)
}

// readBody reads size bytes into b.in, which grows only as they arrive. It charges
// the memory to the agent's intake; the caller releases it.
func (s *session) readBody(ctx context.Context, b *scratch, size int) ([]byte, error) {
	buf := b.in[:0]
	if size == 0 {
		return buf, nil
	}
	if p, ok := s.conn.(promptConn); ok && cap(buf) >= size {
		// Usually all of it has arrived: then no deadline is needed.
		n, err := p.ReadReady(buf[:size])
		switch buf = buf[:n]; {
		case err != nil:
			return buf, err
		case n == size:
			return buf, s.receiveAtLeisure()
		}
	}
	if err := s.receiveBy(); err != nil {
		return buf, err
	}
	in := s.agent.plain
	s.arrival.begin()
	if err := in.grow(ctx, &s.arrival, cap(b.in)+cap(b.out)); err != nil {
		return buf, err
	}
	for len(buf) < size {
		if len(buf) == cap(buf) {
			next := min(2*cap(buf), size)
			if err := in.grow(ctx, &s.arrival, next-cap(buf)); err != nil {
				return buf, err
			}
			bigger := make([]byte, len(buf), next)
			copy(bigger, buf)
			buf = bigger
		}
		n, err := s.conn.Read(buf[len(buf):min(cap(buf), size)])
		buf = buf[:len(buf)+n]
		if err != nil && len(buf) < size {
			return buf, noEOF(err)
		}
	}
	if !in.complete(&s.arrival) {
		return buf, errNoRoom
	}
	return buf, s.receiveAtLeisure()
}

// receiveBy gives the peer MessageTimeout to finish the message it began.
func (s *session) receiveBy() error {
	s.hurried = true
	return s.conn.SetReadDeadline(time.Now().Add(MessageTimeout))
}

// receiveAtLeisure removes the deadline, so that the peer may be idle.
func (s *session) receiveAtLeisure() error {
	if !s.hurried {
		return nil
	}
	s.hurried = false
	return s.conn.SetReadDeadline(time.Time{})
}

// Conn is a connection that the agent serves.
type Conn interface {
	net.Conn
	// AwaitHangup returns nil when the peer has closed its end, or an error at
	// the read deadline. It doesn't read what the peer has sent.
	AwaitHangup() error
}

// promptConn is a connection that can read and write without blocking, such as
// unixsock.Stream. If it would block, it returns 0 bytes and no error.
type promptConn interface {
	ReadReady(b []byte) (int, error)
	WriteReady(b []byte) (int, error)
}

// send writes a reply with one call.
func (s *session) send(reply []byte) error {
	if p, ok := s.conn.(promptConn); ok {
		n, err := p.WriteReady(reply)
		if err != nil {
			return fmt.Errorf("write a reply: %w", err)
		}
		if reply = reply[n:]; len(reply) == 0 {
			return nil
		}
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(MessageTimeout)); err != nil {
		return err
	}
	if _, err := s.conn.Write(reply); err != nil {
		return fmt.Errorf("write a reply: %w", err)
	}
	return s.conn.SetWriteDeadline(time.Time{})
}

// noEOF turns io.EOF in the middle of a message into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// handle answers a request without secrets. The reply is a complete frame, built
// in out unless it is shared.
func (s *session) handle(ctx context.Context, number byte, body, out []byte) []byte {
	switch number {
	case agentproto.MsgSignRequest:
		return s.sign(ctx, body, out)
	case agentproto.MsgRequestIdentities:
		return s.list(body, out)
	case agentproto.MsgRemoveIdentity:
		return s.remove(ctx, body, out)
	case agentproto.MsgRemoveAllIdentities:
		return s.removeAll(ctx, body, out)
	case agentproto.MsgRemoveAllRSA:
		if s.agent.Locked() {
			return decline(out)
		}
		return s.removeAll(ctx, body, out)
	case agentproto.MsgExtension:
		return s.extension(body, out)
	}
	return decline(out) // MsgListRSA: all others come to handleSecret
}

func (s *session) list(body, out []byte) []byte {
	if err := agentproto.ParseEmpty(body); err != nil {
		return s.refuse(out, "list", nil, err)
	}
	snap := s.agent.fresh()
	if snap.locked {
		return emptyFrame()
	}
	return s.agent.frameFor(snap, &s.path)
}

// errLocked is the reason for a refusal while ssh-add -x has locked the agent.
var errLocked = errors.New("the agent is locked with ssh-add -x; ssh-add -X unlocks it")

// Advised returns a reason for a refusal, with what a person can do about it, a sentence.
func Advised(reason, next string) error { return &advised{reason, next} }

// advised is a reason for a refusal, with what a person can do about it.
type advised struct{ reason, next string }

func (e *advised) Error() string { return e.reason }

// refuse records a refusal and appends the reply, which is the same for all.
func (s *session) refuse(out []byte, request string, id *identity, reason error) []byte {
	s.note(Refusal{Request: request}, id, reason)
	return agentproto.AppendStatus(out, agentproto.MsgFailure)
}

// decline appends the reply of a refusal and records none: clients send messages to
// learn what an agent supports, and use it without.
func decline(out []byte) []byte { return agentproto.AppendStatus(out, agentproto.MsgFailure) }

// note completes and records a refusal.
func (s *session) note(r Refusal, id *identity, reason error) {
	if s.agent.o.Refusals == nil {
		return
	}
	r.Time, r.Peer, r.Reason = time.Now(), s.peerNamed(), reason.Error()
	r.Host, r.From = s.hosts()
	var a *advised
	if errors.As(reason, &a) {
		r.Next = a.next
	}
	if id != nil {
		r.Fingerprint, r.Comment, r.Vault = id.fingerprint, id.comment, id.vault
	}
	s.agent.o.Refusals.Refuse(r)
}

// hosts returns the fingerprints of the keys of the host to log in to, and of the one the
// agent was forwarded to, as the client's session binds prove them; "" if there is none.
func (s *session) hosts() (host, from string) {
	hops := s.path.Bindings
	if last := len(hops) - 1; last >= 0 && !hops[last].Forwarding {
		host, hops = pubkey.SHA256(hops[last].Host.Plain), hops[:last]
	}
	if last := len(hops) - 1; last >= 0 {
		from = pubkey.SHA256(hops[last].Host.Plain)
	}
	return host, from
}

// peerNamed returns the peer with its program, which it looks up at the first call.
func (s *session) peerNamed() Peer {
	if s.peer.Program == "" && s.agent.o.ProgramOf != nil && s.peer.PID != 0 {
		s.peer.Program = s.agent.o.ProgramOf(s.peer.PID)
	}
	return s.peer
}

// logPanic logs where a panic happened, but not its value, which may hold data from
// a peer.
func (a *Agent) logPanic(r any) {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	var where []string
	for {
		f, more := frames.Next()
		where = append(where, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			break
		}
	}
	a.o.Log.Error("a session panicked", "type", fmt.Sprintf("%T", r), "stack", where)
}
