package opener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"vigil/internal/ipc"
)

// endTimeout is how long an opener may take to exit after its connection is closed,
// before it is killed.
const endTimeout = 2 * time.Second

// unattended is how long a request may take if no person waits. Calls to services have
// far shorter limits of their own. This one is for a folder that doesn't respond, as
// on a network file system, and for a pipe in place of a file that the AWS SDK reads.
const unattended = 5 * time.Minute

// Client is a running opener. It isn't safe for concurrent use.
type Client struct {
	patience time.Duration // unattended, except in tests

	child *ipc.Child
	conn  *net.UnixConn
	stop  func() bool // stops killing the process when the context ends
}

// Asker answers an opener's question, or returns an error if it can't.
type Asker func(ctx context.Context, message string) (string, error)

// Do has an opener do a job. seen is what this device has seen of the keyring. ask
// answers the job's questions, such as one for an MFA code; nil means that no person
// waits, and that an opener without an answer is killed after some minutes. If the
// job fails, the error is an *Error.
func Do[R any](ctx context.Context, c *Client, j Job[R], seen Seen, ask Asker) (*R, error) {
	result := j.result()
	if err := c.do(ctx, j, seen, ask, result); err != nil {
		return nil, err
	}
	return result, nil
}

func (c *Client) do(ctx context.Context, j job, seen Seen, ask Asker, result any) error {
	req := Request{Job: j.name(), Interactive: ask != nil, Seen: seen}
	var limit time.Time
	if !req.Interactive {
		limit = time.Now().Add(c.patience)
	}
	if err := c.conn.SetDeadline(limit); err != nil {
		return fmt.Errorf("talk to opener: %w", err)
	}
	if err := errors.Join(WriteMessage(c.conn, &req), WriteMessage(c.conn, j)); err != nil {
		return c.lost(ctx, err)
	}
	for {
		var reply Reply
		err := ReadMessage(c.conn, &reply)
		if err == nil && reply == (Reply{}) {
			err = ReadMessage(c.conn, result)
		}
		switch {
		case err != nil:
			return c.lost(ctx, err)
		case reply.Error != nil:
			return reply.Error
		case reply.Ask == nil:
			return nil
		}
		answer := Answer{Refused: true}
		if ask != nil {
			if text, err := ask(ctx, reply.Ask.Message); err == nil {
				answer = Answer{Text: text}
			}
		}
		if err := WriteMessage(c.conn, &answer); err != nil {
			return c.lost(ctx, err)
		}
	}
}

// lost returns why the connection broke off.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("talk to opener: %w", ctx.Err())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.child.Kill()
		return &Error{
			Kind: Unreachable, Message: fmt.Sprintf("nothing was heard for %v: a folder or a file of the backend, the master key or the AWS configuration doesn't answer", c.patience),
			Next: "Check whether their file systems can be reached.",
		}
	}
	return fmt.Errorf("talk to opener: it ended: %w", err)
}

// Close ends the opener and returns once the process is gone.
func (c *Client) Close() {
	_ = c.conn.Close()
	c.child.End(endTimeout)
	c.stop()
}
