package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/buildid"
	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

// Limits of the server.
const (
	// maxConnections bounds the control connections. A further one makes the server
	// close another.
	maxConnections = 128
	// maxRequests bounds the requests answered at once, and maxOfProcess those of one
	// process: vigilctl makes one at a time. Version and requests that lock don't count.
	maxRequests  = 48
	maxOfProcess = 16
	maxHello     = 4 << 10 // bytes
	// askTimeout bounds the time for all of a person's answers to one request: the
	// vault waits meanwhile.
	askTimeout = 2 * time.Minute
	// requestTimeout bounds a request's arrival after its first byte.
	requestTimeout = 10 * time.Second
	// idleTimeout bounds the time between requests: a person may be typing a passphrase.
	idleTimeout = 10 * time.Minute
	// replyTimeout bounds the time to send a reply.
	replyTimeout = 30 * time.Second
)

// Server answers requests on control sockets.
type Server struct {
	// Build is the build id in its hello. NewServer sets it to buildid.ID().
	Build string
	// Several reports whether more than one vault is served; nil: no.
	Several func() bool

	operations map[Op]func() operation
	log        *slog.Logger
	crowd      *unixsock.Crowd

	mu      sync.Mutex                      // guards the fields below
	doing   map[int]int                     // requests of each process
	all     int                             // all requests
	waiting map[*session]context.CancelFunc // requests that wait for input

	// hold keeps a connection open until the process ends; tests replace it.
	hold func(*net.UnixConn)
}

// NewServer returns a server for operations. It logs what it can't tell a client.
func NewServer(log *slog.Logger, operations ...Operation) *Server {
	s := &Server{
		Build:      buildid.ID(),
		operations: make(map[Op]func() operation, len(operations)),
		log:        log,
		crowd:      unixsock.NewCrowd(maxConnections),
		doing:      map[int]int{},
		waiting:    map[*session]context.CancelFunc{},
		hold:       holdOpen,
	}
	for _, o := range operations {
		s.operations[o.op] = o.new
	}
	return s
}

// Listener accepts connections: a *unixsock.Listener, which accepts only this user
// and root, and waits while descriptors are short.
type Listener interface {
	Accept() (*net.UnixConn, unixsock.Peer, error)
	Close() error
}

// Serve answers requests on l until ctx ends. Then it closes l, cancels the contexts
// of running requests, waits for every connection's goroutines, and returns nil.
func (s *Server) Serve(ctx context.Context, l Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = l.Close() }()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, peer, err := l.Accept()
		if err == nil {
			guest := s.crowd.Enter(conn, peer.PID)
			wg.Go(func() {
				defer guest.Leave()
				s.serve(ctx, conn, peer, guest)
			})
			continue
		}
		var foreign *unixsock.ForeignPeerError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &foreign):
			s.log.Warn("control connection refused", "error", err)
		default:
			return fmt.Errorf("accept control connection: %w", err)
		}
	}
}

// serve serves one connection and closes it.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn, peer unixsock.Peer, guest *unixsock.Guest) {
	defer conn.Close()
	ch := &channel{conn: conn}
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	_ = conn.SetWriteDeadline(time.Now().Add(replyTimeout))
	if err := ch.write(hello{helloName, helloVersion, s.Build}, maxReply); err != nil {
		return
	}
	readDeadline(ctx, conn, helloTimeout)
	h, err := ch.readHello(maxHello)
	if err != nil {
		if !errors.Is(err, io.EOF) && ctx.Err() == nil {
			s.log.Warn("control connection refused", "pid", peer.PID, "error", err)
		}
		return
	}
	sess := &session{
		server: s, ch: ch, peer: peer, guest: guest, sameBuild: h.Build == s.Build,
		frames: make(chan frame), done: make(chan struct{}),
	}
	sess.run(ctx)
}

// ErrGone is the cause (context.Cause) of the end of a request's context whose client
// has closed its connection.
var ErrGone = errors.New("the client went away before it was done")

// session is one connection after the hellos.
type session struct {
	server    *Server
	ch        *channel
	peer      unixsock.Peer
	guest     *unixsock.Guest
	sameBuild bool
	frames    chan frame    // from the client; closed at its end
	done      chan struct{} // closed when no more frames are read
	sending   sync.Mutex
}

// run answers requests one after another. A second goroutine reads, so that a
// request's context ends when its client goes away.
func (s *session) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel(ErrGone)
		defer close(s.frames)
		s.read(ctx)
	})
	defer wg.Wait()
	defer func() { _ = s.ch.conn.CloseRead() }()
	defer close(s.done)
	for f := range s.frames {
		if !s.answer(ctx, f) {
			return
		}
	}
}

func (s *session) read(ctx context.Context) {
	for {
		readDeadline(ctx, s.ch.conn, idleTimeout)
		f, err := s.ch.readFrame(maxRequest, func() { readDeadline(ctx, s.ch.conn, requestTimeout) })
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				s.server.log.Warn("control connection ended", "pid", s.peer.PID, "error", err)
			}
			return
		}
		select {
		case s.frames <- f:
		case <-s.done:
			f.close()
			return
		}
	}
}

// readDeadline sets the read deadline unless ctx has ended, which has set one in the past.
func readDeadline(ctx context.Context, conn *net.UnixConn, d time.Duration) {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// answer answers one request and reports whether the connection is still usable.
func (s *session) answer(ctx context.Context, f frame) bool {
	defer f.close()
	s.guest.Busy(true)
	defer s.guest.Busy(false)
	op, o, err := s.parse(&f)
	if o != nil {
		defer closeFiles(o.req)
	}
	if err != nil {
		return s.send(response{Error: AsError(err)})
	}
	reply, err := s.do(ctx, op, o)
	if err != nil {
		return s.send(response{Error: AsError(err)})
	}
	if op == OpStop {
		s.server.hold(s.ch.conn)
	}
	return s.send(response{Reply: reply, Several: s.sameBuild && s.server.Several != nil && s.server.Several()})
}

// parse decodes a request and its descriptors. With an error, it returns the
// operation if that owns files.
func (s *session) parse(f *frame) (Op, *operation, error) {
	var q question
	if err := decode(f.body, &q); err != nil {
		return "", nil, Errorf(CodeUsage, "", "read control request: %v", err)
	}
	if q.Answer != nil || q.Error != nil {
		return "", nil, Errorf(CodeUsage, "", "an answer came where a request was expected")
	}
	if !s.sameBuild && q.Op != OpVersion && q.Op != OpStop && q.Op != OpLock {
		return q.Op, nil, Errorf(CodeOtherBuild, "`vigilctl up` restarts it; that locks it.",
			"vigild (process %d) is still of build %s, not of this vigilctl's: a restart is pending", os.Getpid(), s.server.Build)
	}
	o, err := s.server.decode(q)
	if err != nil {
		return q.Op, nil, err
	}
	o.progress = q.Progress
	return q.Op, o, o.adopt(q.Files, f)
}

// decode decodes the body of a request.
func (s *Server) decode(q question) (*operation, error) {
	construct, ok := s.operations[q.Op]
	if !ok {
		return nil, Errorf(CodeUsage, "", "vigild knows no such operation")
	}
	o := construct()
	body := []byte(q.Body)
	if len(body) == 0 {
		body = []byte("{}")
	}
	if err := decode(body, o.req); err != nil {
		return nil, Errorf(CodeUsage, "", "read %s request: %v", q.Op, err)
	}
	return &o, nil
}

// adopt moves f's descriptors to the request's fields of these names.
func (o *operation) adopt(names []string, f *frame) error {
	slots := o.req.files()
	if len(names) != len(f.fds) {
		return Errorf(CodeUsage, "", "%s: %d files are named and %d came", o.req.op(), len(names), len(f.fds))
	}
	for _, name := range names {
		i := slices.IndexFunc(slots, func(s fileSlot) bool { return s.name == name })
		if i < 0 || *slots[i].file != nil {
			return Errorf(CodeUsage, "", "%s: a file is named that it doesn't take, or twice", o.req.op())
		}
		*slots[i].file = os.NewFile(uintptr(f.fds[0]), name)
		f.fds = f.fds[1:]
	}
	for _, slot := range slots {
		if slot.required && *slot.file == nil {
			return Errorf(CodeUsage, "", "%s: the file %s is missing", o.req.op(), slot.name)
		}
	}
	return nil
}

func closeFiles(req request) {
	for _, slot := range req.files() {
		if *slot.file != nil {
			_ = (*slot.file).Close()
		}
	}
}

// call runs the operation's function. A panic becomes an error for this client; its
// value isn't logged, because it may be part of a request.
func (s *session) call(ctx context.Context, op Op, o *operation) (reply any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.server.log.Error("panic in control request", "op", op, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			reply, err = nil, Errorf(CodeFailed, "The daemon's log says where; please report it.", "%s: vigild failed inside", op)
		}
	}()
	patience := time.NewTimer(askTimeout)
	defer patience.Stop()
	if w, ok := o.req.(interface{ watch(func(Progress)) }); ok && o.progress {
		r := startReporter(s.send)
		defer r.stop()
		w.watch(r.report)
	}
	ask := func(ctx context.Context, a Ask) (Answer, error) { return s.ask(ctx, patience, a) }
	return o.call(ctx, &Call{Peer: s.peer, ask: ask})
}

// ask sends the client a question and waits for its answer. patience covers all
// questions of a request.
func (s *session) ask(ctx context.Context, patience *time.Timer, a Ask) (Answer, error) {
	if !s.send(response{Ask: &a}) {
		return Answer{}, Errorf(CodeRefused, "", "the client went away before it answered")
	}
	select {
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	case <-patience.C:
		patience.Reset(0) // also for the next question
		return Answer{}, Errorf(CodeRefused, "Run it again.", "nobody answered within %v", askTimeout)
	case f, ok := <-s.frames:
		if !ok {
			return Answer{}, Errorf(CodeRefused, "", "the client went away before it answered")
		}
		defer f.close()
		var q question
		if err := decode(f.body, &q); err != nil || len(f.fds) > 0 {
			return Answer{}, Errorf(CodeUsage, "", "read the client's answer: not an answer")
		}
		switch {
		case q.Error != nil:
			return Answer{}, q.Error
		case q.Answer == nil:
			return Answer{}, Errorf(CodeUsage, "", "read the client's answer: not an answer")
		}
		return *q.Answer, nil
	}
}

// send writes a message and reports whether it succeeded.
func (s *session) send(r response) bool {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.ch.conn.SetWriteDeadline(time.Now().Add(replyTimeout))
	err := s.ch.write(r, maxReply)
	if errors.Is(err, ipc.ErrTooLong) {
		err = s.ch.write(response{Error: Errorf(CodeFailed, "", "the reply is longer than %d bytes", maxReply)}, maxReply)
	}
	if err != nil {
		s.server.log.Warn("answer control request", "pid", s.peer.PID, "error", err)
	}
	return err == nil
}

// holdOpen keeps the connection open until the process ends, on a descriptor that
// nothing closes. Its end tells Client.WaitGone that the process has ended.
func holdOpen(conn *net.UnixConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
}
