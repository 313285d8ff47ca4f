package daemon

import (
	"context"
	"sync"
	"sync/atomic"
)

// turn lets one job of a kind run at a time; waiting for it ends with a context.
// Its zero value is ready. Unlike a mutex it may be held across I/O.
type turn struct {
	once sync.Once
	c    chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.c = make(chan struct{}, 1) })
	select {
	case t.c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() { <-t.c }

// cell holds one thing or none. Its zero value is empty.
type cell[T any] struct{ p atomic.Pointer[T] }

func (c *cell[T]) get() *T           { return c.p.Load() }
func (c *cell[T]) set(v *T)          { c.p.Store(v) }
func (c *cell[T]) take() *T          { return c.p.Swap(nil) }
func (c *cell[T]) clear(old *T) bool { return c.p.CompareAndSwap(old, nil) }

// openCount counts open connections.
type openCount struct{ n atomic.Int64 }

func (o *openCount) add(n int64) { o.n.Add(n) }
func (o *openCount) get() int    { return int(o.n.Load()) }
