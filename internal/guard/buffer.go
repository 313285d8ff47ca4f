package guard

import "sync/atomic"

// Buffer is a piece of guarded memory from a Slab. It must not be copied; pass it by
// pointer. Bytes and Free may be called concurrently, but the bytes must not be freed
// while they are in use.
type Buffer struct {
	Redacted
	// r is nil once freed. The pointer also keeps the bytes out of what fmt prints
	// for a Buffer that was copied by mistake.
	r atomic.Pointer[region]
}

// region is the place of a Buffer in a slab.
type region struct {
	slab  *Slab
	seg   *segment
	first int // first granule in seg
	count int // granules
	mem   []byte
}

// Bytes returns the guarded bytes, which are zero when allocated, or nil after Free or
// the slab's Close. The slice is valid until then, and its capacity is its length. It
// can be passed to read(2): io.ReadFull(conn, b.Bytes()) reads a secret from a socket
// into guarded memory without a copy elsewhere.
func (b *Buffer) Bytes() []byte {
	r := b.r.Load()
	if r == nil || r.slab.closed.Load() {
		return nil
	}
	return r.mem
}

// Len returns the number of guarded bytes, 0 after Free.
func (b *Buffer) Len() int {
	r := b.r.Load()
	if r == nil {
		return 0
	}
	return len(r.mem)
}

// Free wipes the bytes and returns them to the slab. A second call, a call on nil and
// a call after the slab's Close do nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	if r := b.r.Swap(nil); r != nil {
		r.slab.release(r)
	}
}
