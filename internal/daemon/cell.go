package daemon

import "sync/atomic"

// cell holds one thing or none. Its zero value is empty.
type cell[T any] struct{ p atomic.Pointer[T] }

func (c *cell[T]) get() *T           { return c.p.Load() }
func (c *cell[T]) set(v *T)          { c.p.Store(v) }
func (c *cell[T]) take() *T          { return c.p.Swap(nil) }
func (c *cell[T]) clear(old *T) bool { return c.p.CompareAndSwap(old, nil) }
