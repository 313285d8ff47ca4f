package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

// Client is the front's end of a keeper process. Its methods are safe for concurrent
// use; as many run at once as the keeper has workers.
type Client struct {
	child  *ipc.Child
	report Report
	conns  []*conn

	free chan struct{} // one token for each connection in idle
	mu   sync.Mutex    // guards the fields below
	idle []*conn       // a stack: the most recently used connection is the warmest

	traced *guard.TracedError // why the keeper was ended; nil: not because of a tracer

	watching sync.WaitGroup // watchTracers, which ends with the process
}

// conn is a connection and its buffer, used by one goroutine at a time.
type conn struct {
	c      *unixsock.Stream
	buf    [SmallMessage]byte
	broken bool // a reply was lost, and would be read as the next request's
}

func (c *Client) take(ctx context.Context) (*conn, error) {
	if ctx.Err() != nil { // select might take a free connection instead
		return nil, ctx.Err()
	}
	select {
	case <-c.free:
	case <-c.child.Done():
		return nil, ErrGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	k := c.idle[last]
	c.idle = c.idle[:last]
	return k, nil
}

func (c *Client) put(k *conn) {
	c.mu.Lock()
	c.idle = append(c.idle, k)
	c.mu.Unlock()
	c.free <- struct{}{}
}

// call sends a request, its body in parts, in one write. It returns the reply's body
// in a new slice. It sends no secret to a traced keeper.
func (c *Client) call(ctx context.Context, o Op, parts ...[]byte) ([]byte, error) {
	if o.Secret() {
		if err := c.untraced(); err != nil {
			return nil, err
		}
	}
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	if err := k.send(o, parts...); err != nil {
		return nil, err
	}
	return k.receive(nil)
}

// send writes one request. It doesn't copy the parts, so a secret stays in guarded memory.
func (k *conn) send(o Op, parts ...[]byte) error {
	if k.broken {
		return ErrGone
	}
	err := ipc.Write(k.c.UnixConn, MaxMessage, append([][]byte{{byte(o)}}, parts...)...)
	if errors.Is(err, ipc.ErrTooLong) {
		return fmt.Errorf("write to keeper: %w", err) // nothing was written
	}
	if err != nil {
		return k.fail("write to keeper", err)
	}
	return nil
}

// sendBuf writes the request in b, the connection's buffer, which begins with room
// for the header.
func (k *conn) sendBuf(o Op, b []byte) error {
	if k.broken {
		return ErrGone
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-ipc.HeaderLen))
	b[ipc.HeaderLen] = byte(o)
	if _, err := k.c.Write(b); err != nil {
		return k.fail("write to keeper", err)
	}
	return nil
}

// receive reads one reply and appends its body to dst.
func (k *conn) receive(dst []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(k.c, k.buf[:], HeaderLen)
	if err != nil {
		return nil, k.fail("read from keeper", err)
	}
	size, err := ipc.Length(k.buf[:], MaxMessage)
	if err == nil && size < 1 {
		err = errors.New("reply without a status")
	}
	if err != nil {
		return nil, k.fail("read from keeper", err)
	}
	s, body := Status(k.buf[ipc.HeaderLen]), size-1
	have := k.buf[HeaderLen:n]
	if len(have) > body {
		return nil, k.fail("read from keeper", errors.New("bytes after the reply"))
	}
	start := len(dst)
	dst = append(dst, have...)
	if rest := body - len(have); rest > 0 {
		dst = append(dst, make([]byte, rest)...)
		if _, err := io.ReadFull(k.c, dst[start+len(have):]); err != nil {
			return nil, k.fail("read from keeper", err)
		}
	}
	if s != StatusOK {
		return nil, errorOf(s, dst[start:])
	}
	return dst, nil
}

// fail marks the connection as unusable: after part of a message, a reply on it might
// belong to another request.
func (k *conn) fail(verb string, err error) error {
	k.broken = true
	_ = k.c.Close()
	if gone(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrGone
	}
	return fmt.Errorf("%s: %w", verb, err)
}
