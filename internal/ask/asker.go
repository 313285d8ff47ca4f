package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/ownership"
	"vigil/internal/prompt"
	"vigil/internal/session"
	"vigil/internal/unixsock"
)

// Role is vigilctl's argument when the front starts it as an asker.
const Role = "asker-role"

// FrontFD is the asker's descriptor for its front.
const FrontFD = ipc.FirstFile

// tries is how often a passphrase is asked for in one prompt.
const tries = 3

const (
	// maxQuestion bounds what the front sends, in bytes: an environment has at most 2 MiB
	// by default (execve(2)), and JSON may double it.
	maxQuestion = 4 << 20
	// maxAnswer bounds what the asker sends, in bytes.
	maxAnswer = 64 << 10
	// endTimeout is how long an asker may take to close its prompt.
	endTimeout = 2 * time.Second
)

// Question is what the front asks an asker for, once: a passphrase, or with Confirm whether
// something is allowed.
type Question struct {
	Environ []string   `json:"environ"` // of the program that shows the prompt, if one does
	Title   string     `json:"title"`
	Text    string     `json:"text"`
	Memory  guard.Kind `json:"memory"` // the best kind of memory for what is typed
	Confirm bool       `json:"confirm,omitempty"`
	// Longer is for how long a person may allow it; 0: once.
	Longer time.Duration `json:"longer,omitempty,format:nano"`

	// Session has the terminal on which the asker asks by itself, as long as the process
	// group Foreground has that for itself; nil: a program asks.
	Session    *session.Session `json:"session,omitempty"`
	Foreground int              `json:"foreground,omitempty"`
}

// Answer is what an asker says. A passphrase comes in a pipe, whose reading end is passed
// with the message.
type Answer struct {
	Typed    bool   `json:"typed,omitempty"`
	Allowed  bool   `json:"allowed,omitempty"`
	Longer   bool   `json:"longer,omitempty"` // it is allowed for as long as the question says
	Declined bool   `json:"declined,omitempty"`
	Reason   string `json:"reason,omitempty"` // why nobody can be asked, if it is neither
}

// Verdict tells an asker that the passphrase was wrong, and to ask again. After one that
// was right, the front closes the connection. Over tells a `vigilctl ask`, which goes on,
// how the prompt ended.
type Verdict struct {
	Wrong string `json:"wrong,omitempty"`
	Over  string `json:"over,omitempty"`
}

// Send writes a message of either side, with at most one file, which the caller closes.
func Send(c *net.UnixConn, message any, file *os.File) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var framed bytes.Buffer
	if err := ipc.Write(&framed, maxQuestion, body); err != nil {
		return err
	}
	if file == nil {
		_, err = c.Write(framed.Bytes())
		return err
	}
	return unixsock.SendFDsConn(c, framed.Bytes(), int(file.Fd()))
}

// ReadQuestion reads what the front sends first.
func ReadQuestion(c *net.UnixConn) (q Question, err error) {
	body, err := ipc.Read(c, maxQuestion)
	if err != nil {
		return q, err
	}
	return q, json.Unmarshal(body, &q)
}

// ReadVerdict reads what the front sends after a passphrase.
func ReadVerdict(c *net.UnixConn) (v Verdict, err error) {
	body, err := ipc.Read(c, maxAnswer)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(body, &v)
}

// passed reads from a connection and keeps the descriptors that come with the bytes.
type passed struct {
	conn *net.UnixConn
	fds  []int
}

func (p *passed) Read(b []byte) (int, error) {
	n, fds, err := unixsock.RecvFDsConn(p.conn, b, 1)
	p.fds = append(p.fds, fds...)
	return n, err
}

// readAnswer reads an asker's answer, and the pipe if it has one, which the caller closes.
func readAnswer(c *net.UnixConn) (a Answer, pipe *os.File, err error) {
	from := &passed{conn: c}
	body, err := ipc.Read(from, maxAnswer)
	var files []*os.File
	for _, fd := range from.fds {
		files = append(files, os.NewFile(uintptr(fd), "passphrase"))
	}
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err == nil && a.Typed == (len(files) == 1) && len(files) < 2 {
		if a.Typed {
			pipe = files[0]
		}
		return a, pipe, nil
	}
	for _, f := range files {
		_ = f.Close()
	}
	return a, nil, errors.Join(errors.New("read the asker's answer"), err)
}

// Program is vigilctl on the disk, as an asker.
type Program struct{ p *ipc.Program }

// At returns the program at an absolute path.
func At(path string) *Program { return &Program{ipc.ProgramAt(path, "vigilctl", Role)} }

// Hold is At for a running daemon's: see [ipc.Program.Hold].
func Hold(path string) *Program {
	p := At(path)
	p.p.Hold()
	return p
}

// ErrWrong is wrapped by the error of a passphrase that was wrong.
var ErrWrong = errors.New("wrong passphrase")

// Passphrase has an asker ask for a passphrase at a place, each time for as long as
// patience, and calls use with a pipe that holds it. Nothing here reads the pipe. It is
// asked for again while use fails with ErrWrong, up to three times. The error is use's,
// ErrDeclined, ErrUnanswered or ErrUnavailable; if ctx ends, the prompt is closed and it is
// ctx's.
func (p *Program) Passphrase(ctx context.Context, at *Place, q Question, patience time.Duration, use func(*os.File) error) error {
	return p.ask(ctx, at, patience, func(conn *net.UnixConn, pid int) error {
		at.tell(&q)
		return converse(ctx, conn, pid, q, patience, use)
	})
}

// Confirm has an asker ask at a place whether something is allowed, for as long as
// patience. The error is nil for yes, and else as for Passphrase. longer is set if the yes
// holds for q.Longer.
func (p *Program) Confirm(ctx context.Context, at *Place, q Question, patience time.Duration) (longer bool, err error) {
	q.Confirm = true
	at.tell(&q)
	err = p.ask(ctx, at, patience, func(conn *net.UnixConn, _ int) error {
		if err := Send(conn, &q, nil); err != nil {
			return fmt.Errorf("%w: talk to the asker: %w", ErrUnavailable, err)
		}
		answer, pipe, err := nextAnswer(ctx, conn, patience)
		switch {
		case err != nil:
			return err
		case pipe != nil:
			return errors.Join(fmt.Errorf("%w: the asker gave a passphrase that it wasn't asked for", ErrUnavailable), pipe.Close())
		case !answer.Allowed:
			return answer.refusal()
		}
		longer = answer.Longer && q.Longer > 0
		return nil
	})
	return longer && err == nil, err
}

// refusal is the error of an answer that is neither a passphrase nor a yes.
func (a *Answer) refusal() error {
	if a.Declined {
		return ErrDeclined
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, strings.TrimPrefix(a.Reason, prompt.ErrUnavailable.Error()+": "))
}

// ask reaches an asker, and ends the prompt after the conversation with it. If ctx ends,
// the prompt is closed and the error is ctx's.
func (p *Program) ask(ctx context.Context, at *Place, patience time.Duration, converse func(conn *net.UnixConn, pid int) error) (err error) {
	if err := guard.UntracedSelf(); err != nil {
		return err
	}
	conn, pid, end, err := p.reach(ctx, at, patience)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { end(err) }() // it closes the prompt
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	err = converse(conn, pid)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// reach returns a conversation with an asker: a new process, or a `vigilctl ask` that waits.
func (p *Program) reach(ctx context.Context, at *Place, patience time.Duration) (conn *net.UnixConn, pid int, end func(error), err error) {
	if at.standby != nil {
		conn, end, err = at.standby.call(ctx, patience)
		return conn, at.standby.pid, end, err
	}
	child, conn, err := p.p.Start(ctx, ipc.Asker, id.Vault{})
	var unsafe *ipc.UnsafeError
	switch {
	case errors.As(err, &unsafe):
		return nil, 0, nil, fmt.Errorf("%w. %s", err, ownership.Next(unsafe.Err))
	case err != nil:
		return nil, 0, nil, err
	}
	return conn, child.PID(), func(error) {
		_ = conn.Close()
		child.End(endTimeout)
	}, nil
}

var errSilent = fmt.Errorf("%w: the asker's passphrase is no complete one", ErrUnavailable)

// complete reports whether everything has been written to a pipe: whoever reads it would
// hold the vault's turn until then.
func complete(pipe *os.File) bool {
	p := []unix.PollFd{{Fd: int32(pipe.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLHUP != 0
}

// converse holds the conversation with an asker.
func converse(ctx context.Context, conn *net.UnixConn, pid int, q Question, patience time.Duration, use func(*os.File) error) error {
	if err := guard.Untraced(pid); err != nil {
		return err
	}
	if err := Send(conn, &q, nil); err != nil {
		return fmt.Errorf("%w: talk to the asker: %w", ErrUnavailable, err)
	}
	for try := 1; ; try++ {
		answer, pipe, err := nextAnswer(ctx, conn, patience)
		switch {
		case err != nil:
			return err
		case !answer.Typed:
			return answer.refusal()
		}
		err = errSilent
		if complete(pipe) {
			err = use(pipe)
		}
		_ = pipe.Close()
		if !errors.Is(err, ErrWrong) || try == tries {
			return err
		}
		wrong := fmt.Sprintf("Wrong passphrase. Try %d of %d.", try+1, tries)
		if err := Send(conn, &Verdict{Wrong: wrong}, nil); err != nil {
			return fmt.Errorf("%w: talk to the asker: %w", ErrUnavailable, err)
		}
	}
}

// nextAnswer reads the next answer within patience.
func nextAnswer(ctx context.Context, conn *net.UnixConn, patience time.Duration) (a Answer, pipe *os.File, err error) {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if ctx.Err() != nil { // it may have set an earlier one
		return a, nil, ctx.Err()
	}
	a, pipe, err = readAnswer(conn)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w within %v", ErrUnanswered, patience)
	case err != nil:
		err = fmt.Errorf("%w: the asker ended: %w", ErrUnavailable, err)
	}
	return a, pipe, err
}
