package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// Client is the front's end of a keeper process. Its methods may be called from
// many goroutines at once; as many run at a time as the keeper has workers.
type Client struct {
	child  *ipc.Child
	report Report
	conns  []*conn

	free chan struct{} // one token for each connection in idle
	mu   sync.Mutex    // guards what follows
	idle []*conn       // a stack: the connection used last is the warmest

	traced *guard.TracedError // why it was ended, if that was it

	watching sync.WaitGroup // watchTracers, which ends with the process
}

// conn is one connection with its buffer, used by one goroutine at a time.
type conn struct {
	c      *unixsock.Stream
	buf    [smallMessage]byte
	broken bool // a reply was lost: the next request would read it
}

func (c *Client) take(ctx context.Context) (*conn, error) {
	if ctx.Err() != nil { // select would take a free connection as well
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

// call sends a request made of parts, in one write, and returns the reply's
// body, a fresh slice.
func (c *Client) call(ctx context.Context, o op, parts ...[]byte) ([]byte, error) {
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

// send writes one request. A body of any size is written from where it lies,
// never copied, so that a secret in guarded memory stays there.
func (k *conn) send(o op, parts ...[]byte) error {
	if k.broken {
		return ErrGone
	}
	err := ipc.Write(k.c.UnixConn, maxMessage, append([][]byte{{byte(o)}}, parts...)...)
	if errors.Is(err, ipc.ErrTooLong) {
		return fmt.Errorf("write to keeper: %w", err) // nothing was written
	}
	if err != nil {
		return k.fail("write to keeper", err)
	}
	return nil
}

// receive reads one reply and appends its body to dst.
func (k *conn) receive(dst []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(k.c, k.buf[:], headerLen)
	if err != nil {
		return nil, k.fail("read from keeper", err)
	}
	size, err := ipc.Length(k.buf[:], maxMessage)
	if err == nil && size < 1 {
		err = errors.New("reply without a status")
	}
	if err != nil {
		return nil, k.fail("read from keeper", err)
	}
	s, body := status(k.buf[4]), size-1
	have := k.buf[headerLen:n]
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
	if s != statusOK {
		return nil, errorOf(s, dst[start:])
	}
	return dst, nil
}

// fail marks the connection as unusable: after half a message nothing on it
// can be trusted to answer the question that was asked.
func (k *conn) fail(verb string, err error) error {
	k.broken = true
	_ = k.c.Close()
	if gone(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrGone
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// Sign signs data with a key and appends the signature blob (RFC 4253 section
// 6.6) to dst. Flags are SSH_AGENTC_SIGN_REQUEST's.
func (c *Client) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	const fixed = headerLen + 8 + 4
	if len(data) > len(k.buf)-fixed {
		var head [8 + 4]byte
		binary.BigEndian.PutUint64(head[:], key)
		binary.BigEndian.PutUint32(head[8:], flags)
		if err := k.send(opSign, head[:], data); err != nil {
			return nil, err
		}
		return k.receive(dst)
	}
	if k.broken {
		return nil, ErrGone
	}
	b := k.buf[:fixed]
	binary.BigEndian.PutUint32(b, uint32(fixed-4+len(data)))
	b[4] = byte(opSign)
	binary.BigEndian.PutUint64(b[5:], key)
	binary.BigEndian.PutUint32(b[13:], flags)
	b = append(b, data...)
	if _, err := k.c.Write(b); err != nil {
		return nil, k.fail("write to keeper", err)
	}
	return k.receive(dst)
}

// Added is a key that ssh-add added.
type Added struct {
	Key     uint64 // its number in this keeper
	Blob    []byte // public key, or the certificate
	Plain   []byte // public key without a certificate
	Comment string
	// Constraints are the encoded constraints that followed the key, which the
	// front decodes and enforces (agentproto.ParseConstraints).
	Constraints []byte
}

// Add hands the body of an add message, which lies in guarded memory that the
// caller frees, to the keeper.
func (c *Client) Add(ctx context.Context, body *guard.Buffer, constrained bool) (Added, error) {
	if err := c.untraced(); err != nil {
		return Added{}, err
	}
	o := opAdd
	if constrained {
		o = opAddBound
	}
	reply, err := c.call(ctx, o, body.Bytes())
	if err != nil {
		return Added{}, err
	}
	r := wire.NewReader(reply)
	a := Added{Key: r.Uint64(), Blob: r.String(), Plain: r.String(), Comment: string(r.String()), Constraints: r.String()}
	if err := r.End(); err != nil {
		return Added{}, fmt.Errorf("read added key: %w", err)
	}
	return a, nil
}

// Remove forgets an added key.
func (c *Client) Remove(ctx context.Context, key uint64) error {
	_, err := c.call(ctx, opRemove, wire.AppendUint64(nil, key))
	return err
}

// RemoveAll forgets all added keys.
func (c *Client) RemoveAll(ctx context.Context) error {
	_, err := c.call(ctx, opRemoveAll)
	return err
}

// Lock sets the passphrase of ssh-add -x; body is SSH_AGENTC_LOCK's, in guarded memory.
func (c *Client) Lock(ctx context.Context, body *guard.Buffer) error {
	if err := c.untraced(); err != nil {
		return err
	}
	_, err := c.call(ctx, opLock, body.Bytes())
	return err
}

// Unlock checks the passphrase of ssh-add -X and forgets it when it is right;
// otherwise the error is ErrWrongPassphrase, or ErrRefused when there is none.
func (c *Client) Unlock(ctx context.Context, body *guard.Buffer) error {
	if err := c.untraced(); err != nil {
		return err
	}
	_, err := c.call(ctx, opUnlock, body.Bytes())
	return err
}

// attach passes the keeper's end of an opener's private socketpair and returns
// what the keeper says of what came through it. The keeper works on it until
// the opener closes its end, or ctx ends.
func (c *Client) attach(ctx context.Context, kind attachKind, end *os.File) ([]byte, error) {
	if err := c.untraced(); err != nil {
		return nil, err
	}
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	if err := k.send(opAttach, []byte{byte(kind)}); err != nil {
		return nil, err
	}
	if _, err := k.receive(nil); err != nil { // it is ready for the descriptor
		return nil, err
	}
	if err := unixsock.SendFDsConn(k.c.UnixConn, []byte{0}, int(end.Fd())); err != nil {
		return nil, k.fail("pass descriptor to keeper", err)
	}
	return k.receive(nil)
}
