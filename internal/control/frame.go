package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

// Limits of the protocol.
const (
	// maxRequest bounds a client's message in bytes: a key's 1,024 destinations fit.
	// Each connection may have two at once.
	maxRequest = 256 << 10
	// maxReply bounds a daemon's message in bytes: 10,000 keys with their certificates.
	maxReply = 64 << 20
	// maxFiles bounds the descriptors with a message: no request needs more.
	maxFiles = 3
)

var (
	errTooMany  = errors.New("control message carries more descriptors than allowed")
	errStray    = errors.New("control message carries descriptors it does not name")
	errTrailing = errors.New("control message has bytes after its end")
)

// channel sends and receives messages with descriptors on one connection. One
// goroutine may read while another writes.
type channel struct {
	conn *net.UnixConn
	fds  []int // received, but not yet claimed by readFrame's caller
}

// frame is a message and its descriptors, which the frame's owner closes.
type frame struct {
	body []byte
	fds  []int
}

func (f *frame) close() {
	closeAll(f.fds)
	f.fds = nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Read implements io.Reader. It keeps descriptors that arrive in c.fds.
func (c *channel) Read(p []byte) (int, error) {
	n, fds, err := unixsock.RecvFDsConn(c.conn, p, maxFiles)
	c.fds = append(c.fds, fds...)
	if len(c.fds) > maxFiles {
		return 0, errTooMany // with n > 0 io.ReadFull would drop the error
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF // net wraps it, and io compares it
	}
	return n, err
}

// readFrame reads one message of at most limit bytes. The caller's deadline bounds
// the wait for the first byte; begun is called after it. Memory is allocated for the
// bytes that arrive, not for the announced length.
func (c *channel) readFrame(limit int, begun func()) (frame, error) {
	fail := func(err error) (frame, error) {
		closeAll(c.fds)
		c.fds = nil
		return frame{}, err
	}
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return fail(err)
	}
	begun()
	body, err := ipc.Read(io.MultiReader(bytes.NewReader(first[:]), c), limit)
	if err != nil {
		return fail(err)
	}
	f := frame{body, c.fds}
	c.fds = nil
	return f, nil
}

// write sends a message and files, which the caller still owns.
func (c *channel) write(message any, limit int, files ...*os.File) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode control message: %w", err)
	}
	if len(files) > maxFiles {
		return errTooMany
	}
	fds, err := duplicates(files)
	defer closeAll(fds)
	if err != nil {
		return err
	}
	var framed bytes.Buffer
	if err := ipc.Write(&framed, limit, body); err != nil {
		return err
	}
	return unixsock.SendFDsConn(c.conn, framed.Bytes(), fds...)
}

// duplicates returns duplicates of the files' descriptors, also those made before an
// error, without changing the files' mode. The caller closes them.
func duplicates(files []*os.File) ([]int, error) {
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fds, err
		}
		var dupErr error
		err = raw.Control(func(fd uintptr) {
			var dup int
			if dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
				fds = append(fds, dup)
			}
		})
		if err = errors.Join(err, dupErr); err != nil {
			return fds, fmt.Errorf("duplicate descriptor of %s: %w", f.Name(), err)
		}
	}
	return fds, nil
}

// decode decodes exactly one JSON value, strictly.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// hello is the first message in both directions. Its format never changes.
type hello struct {
	Vigil   string `json:"vigil"`   // "control"
	Version int    `json:"version"` // of this framing
	Build   string `json:"build"`
}

const (
	helloName    = "control"
	helloVersion = 1
)

// readHello reads the peer's hello. The caller's deadline bounds the wait.
func (c *channel) readHello(limit int) (hello, error) {
	f, err := c.readFrame(limit, func() {})
	if err != nil {
		return hello{}, err
	}
	defer f.close()
	var h hello
	if len(f.fds) > 0 {
		return hello{}, errStray
	}
	if err := decode(f.body, &h); err != nil {
		return hello{}, err
	}
	if h.Vigil != helloName || h.Version != helloVersion {
		return hello{}, errors.New("the other side does not speak this version of the control protocol")
	}
	return h, nil
}

// question is a client's message: a request, or the answer to an ask.
type question struct {
	Op    Op              `json:"op,omitempty"`
	Files []string        `json:"files,omitempty"` // names of the descriptors, in order
	Body  json.RawMessage `json:"body,omitempty"`
	// Progress asks for messages of progress before the reply.
	Progress bool `json:"progress,omitempty"`

	Answer *Answer `json:"answer,omitempty"`
	// Error says why an ask can't be answered.
	Error *Error `json:"error,omitempty"`
}

// response is a daemon's message: one of reply, error and ask. Several comes with a
// reply to a client of the daemon's build; others might not know it.
type response struct {
	// Reply is a pointer to the operation's reply, for the client too, which knows what
	// it asked for: a long list is decoded once.
	Reply   any    `json:"reply,omitempty"`
	Several bool   `json:"several,omitempty"` // the daemon serves more than one vault
	Error   *Error `json:"error,omitempty"`
	Ask     *Ask   `json:"ask,omitempty"`

	Progress *Progress `json:"progress,omitempty"`
}
