// Package turn lets jobs of a kind run one at a time.
package turn

import (
	"context"
	"slices"
	"sync"
)

// Turn lets one job of a kind run at a time. Waiting for it ends with a context. The
// zero value is ready. Unlike a mutex, it may be held across I/O.
type Turn struct {
	mu    sync.Mutex // guards the fields below
	taken bool
	lanes [2][]chan struct{} // waiters; those in the first lane go first
}

// Take waits for the turn.
func (t *Turn) Take(ctx context.Context) error { return t.wait(ctx, 1) }

// TakeFirst waits for the turn, ahead of all Take calls.
func (t *Turn) TakeFirst(ctx context.Context) error { return t.wait(ctx, 0) }

func (t *Turn) wait(ctx context.Context, lane int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	came := make(chan struct{})
	t.lanes[lane] = append(t.lanes[lane], came)
	t.mu.Unlock()
	select {
	case <-came:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.lanes[lane], came)
	if i >= 0 {
		t.lanes[lane] = slices.Delete(t.lanes[lane], i, i+1)
	}
	t.mu.Unlock()
	if i < 0 {
		t.Give() // it came at the same moment
	}
	return ctx.Err()
}

// Give passes the turn on. The caller has it.
func (t *Turn) Give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, lane := range t.lanes {
		if len(lane) > 0 {
			t.lanes[i] = lane[1:]
			close(lane[0])
			return
		}
	}
	t.taken = false
}
