package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

// helloTimeout is how long each side waits for the other's hello.
const helloTimeout = 10 * time.Second

// Client is a connection to vigild. It isn't safe for concurrent use.
type Client struct {
	// OnAsk answers the daemon's questions; nil: they are refused.
	OnAsk func(context.Context, Ask) (Answer, error)
	// OnProgress learns how much of a long request is done; nil: nobody asks.
	OnProgress func(Progress)
	// Several is whether the daemon serves more than one vault, as of its last reply:
	// then a key's vault is worth naming.
	Several bool

	ch     *channel
	mine   string
	theirs string
	daemon int // process id; 0: in a PID namespace invisible from here
}

// Dial connects to the daemon at path and exchanges hellos. The error is an *Error,
// of CodeNoDaemon if nothing listens there.
func Dial(ctx context.Context, path string) (*Client, error) {
	return dial(ctx, path, buildid.ID(), helloTimeout)
}

// dial is Dial for a program of any build, which waits for the daemon's hello for a time.
func dial(ctx context.Context, path, build string, patience time.Duration) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if ctx.Err() != nil {
		if err == nil {
			_ = conn.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, dialError(path, err)
	}
	c := &Client{ch: &channel{conn: conn.(*net.UnixConn)}, mine: build}
	if err := c.greet(ctx, patience); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func dialError(path string, err error) *Error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return Errorf(CodeNoDaemon, "Start it with `vigilctl up`.", "vigild is not running (nothing answers at %s)", path)
	}
	next := cmp.Or(fault.NextAfter(err), "`vigilctl up` starts a daemon, or says what is in its way.")
	return Errorf(CodeNoDaemon, next, "connect to vigild: %v", err)
}

// greet checks who serves the socket, and exchanges hellos.
func (c *Client) greet(ctx context.Context, patience time.Duration) error {
	peer, err := unixsock.PeerOf(c.ch.conn)
	if err != nil {
		return Errorf(CodeRefused, "", "see who serves the control socket: %v", err)
	}
	if err := peer.Check(); err != nil {
		return Errorf(CodeRefused, "Another user's program listens on your control socket: find out which.",
			"the control socket is served by process %d of uid %d", peer.PID, peer.UID)
	}
	c.daemon = peer.PID
	_ = c.ch.conn.SetDeadline(time.Now().Add(patience)) // before onCancel, which may set an earlier one
	defer c.onCancel(ctx)()
	err = c.ch.write(hello{helloName, helloVersion, c.mine}, maxRequest)
	if err == nil {
		var h hello
		h, err = c.ch.readHello(maxRequest)
		c.theirs = h.Build
	}
	if err != nil {
		return c.lost(ctx, err)
	}
	return c.ch.conn.SetDeadline(time.Time{})
}

// Close closes the connection.
func (c *Client) Close() { _ = c.ch.conn.Close() }

// SameBuild reports whether the daemon is of this program's build. One of another
// build answers only Version, Lock and Stop.
func (c *Client) SameBuild() bool { return c.mine == c.theirs }

// Untraced returns an error if this process or the daemon is traced, so that a tracer
// could see what passes between them. Requests with files are sent only after it. It
// can't tell whether the peer really is vigild.
func (c *Client) Untraced() error {
	if err := guard.UntracedSelf(); err != nil {
		return Errorf(CodeRefused, "Run it without that program. Nothing was handed over.", "%v", err)
	}
	if c.daemon == 0 {
		return nil
	}
	if err := guard.Untraced(c.daemon); err != nil {
		return Errorf(CodeRefused, "End that program, and restart the daemon: vigilctl down, then vigilctl up. Nothing was handed over.", "vigild: %v", err)
	}
	return nil
}

// Do sends req with its files, which the caller still owns, and returns the reply.
// The error is an *Error or ctx's. After any error that isn't the daemon's reply, c
// is unusable.
func Do[R any](ctx context.Context, c *Client, req Request[R]) (*R, error) {
	reply := req.reply()
	if err := c.roundTrip(ctx, req, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// roundTrip sends req and decodes the reply into reply.
func (c *Client) roundTrip(ctx context.Context, req request, reply any) error {
	defer c.onCancel(ctx)()
	body, err := json.Marshal(req)
	if err != nil {
		return Errorf(CodeFailed, "", "encode %s: %v", req.op(), err)
	}
	q := question{Op: req.op(), Body: body, Progress: c.OnProgress != nil}
	var files []*os.File
	for _, slot := range req.files() {
		if *slot.file != nil {
			q.Files = append(q.Files, slot.name)
			files = append(files, *slot.file)
		}
	}
	if len(files) > 0 { // they may contain a passphrase
		if err := c.Untraced(); err != nil {
			return err
		}
	}
	if err := c.ch.write(q, maxRequest, files...); err != nil {
		if errors.Is(err, ipc.ErrTooLong) {
			return Errorf(CodeUsage, "", "%s: the request is longer than %d bytes", req.op(), maxRequest)
		}
		return c.lost(ctx, err)
	}
	for {
		r, err := c.receive(reply)
		var unreadable *replyError
		switch {
		case errors.As(err, &unreadable):
			return Errorf(CodeFailed, "`vigilctl up` restarts a daemon of another build.", "read vigild's reply to %s: %v", req.op(), err)
		case err != nil:
			return c.lost(ctx, err)
		case r.Error != nil:
			return r.Error
		case r.Progress != nil:
			if c.OnProgress != nil {
				c.OnProgress(*r.Progress)
			}
			continue
		case r.Ask == nil:
			c.Several = r.Several
			return nil
		}
		if err := c.answer(ctx, *r.Ask); err != nil {
			return c.lost(ctx, err)
		}
	}
}

// replyError is a message that isn't a response to the request.
type replyError struct{ error }

// receive reads a response, and a reply into reply.
func (c *Client) receive(reply any) (response, error) {
	f, err := c.ch.readFrame(maxReply, func() {})
	if err != nil {
		return response{}, err
	}
	defer f.close()
	if len(f.fds) > 0 {
		return response{}, errStray
	}
	r := response{Reply: reply}
	if err := decode(f.body, &r); err != nil {
		return response{}, &replyError{err}
	}
	return r, nil
}

func (c *Client) answer(ctx context.Context, a Ask) error {
	if c.OnAsk == nil {
		return c.ch.write(question{Error: Errorf(CodeRefused, "Run it on a terminal.", "there is nobody to ask: %s", a.Message)}, maxRequest)
	}
	answer, err := c.OnAsk(ctx, a)
	if err != nil {
		return c.ch.write(question{Error: AsError(err)}, maxRequest)
	}
	return c.ch.write(question{Answer: &answer}, maxRequest)
}

// WaitGone waits, after Stop, until the daemon's process has ended: only then does
// the system close the other end of the connection.
func (c *Client) WaitGone(ctx context.Context) error {
	defer c.onCancel(ctx)()
	_, err := io.Copy(io.Discard, c.ch)
	closeAll(c.ch.fds)
	c.ch.fds = nil
	if ctx.Err() != nil {
		return fmt.Errorf("wait for vigild to end: %w", ctx.Err())
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("wait for vigild to end: %w", err)
	}
	return nil
}

// onCancel makes the end of ctx interrupt reads and writes until the returned function is called.
func (c *Client) onCancel(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, func() { _ = c.ch.conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// lost returns why the connection ended.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return Errorf(CodeNoDaemon, "`vigilctl status` shows whether it runs; its log says why.", "vigild closed the connection before it answered")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Errorf(CodeFailed, "Try again. If it was stopped, `kill -CONT "+c.number()+"` resumes it.", "vigild (process %s) doesn't answer", c.number())
	}
	return Errorf(CodeFailed, "If that isn't vigild, find out what it is. `kill "+c.number()+"` ends it, and `vigilctl up` starts a daemon then.",
		"talk to vigild (process %s): %v", c.number(), err)
}

// number returns the daemon's process id, for a person to use.
func (c *Client) number() string {
	if c.daemon == 0 {
		return "PID" // kill 0 would end this process's group
	}
	return strconv.Itoa(c.daemon)
}
