package keeper

import (
	"errors"
	"time"

	"vigil/internal/guard"
)

// recheck bounds how long a tracer is there before the front sees it.
const recheck = 15 * time.Second

// untraced returns an error when front or keeper is traced, and ends the keeper
// then; also when that can't be seen, as without a free descriptor. It looks at the
// keeper from outside, as a tracer decides what a process that it traces reads, and
// at every thread of it.
func (c *Client) untraced() error {
	err := guard.UntracedSelf()
	if err == nil {
		err = guard.Untraced(c.PID())
	}
	var traced *guard.TracedError
	if errors.As(err, &traced) {
		c.mu.Lock()
		c.traced = traced
		c.mu.Unlock()
		c.end()
	}
	return err
}

// Traced returns why the keeper was ended if it or the front was found to be
// traced, and else nil.
func (c *Client) Traced() *guard.TracedError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traced
}

// watchTracers looks from time to time until the keeper has ended.
func (c *Client) watchTracers() {
	look := time.NewTicker(recheck)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			_ = c.untraced() // ends it, or looks again
		case <-c.child.Done():
			return
		}
	}
}
