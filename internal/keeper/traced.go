package keeper

import (
	"errors"
	"time"

	"vigil/internal/guard"
)

// recheck bounds how long the front takes to notice a tracer.
const recheck = 15 * time.Second

// untraced returns an error and ends the keeper if the front or any of the keeper's
// threads is traced, or if that can't be determined, as without a free descriptor. It
// checks the keeper from outside: a tracer controls what its tracee reads.
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

// Traced returns why the keeper was ended if the front or the keeper was traced, else nil.
func (c *Client) Traced() *guard.TracedError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traced
}

// watchTracers checks for tracers until the keeper has ended.
func (c *Client) watchTracers() {
	look := time.NewTicker(recheck)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			_ = c.untraced() // ends the keeper, or checks again
		case <-c.child.Done():
			return
		}
	}
}
