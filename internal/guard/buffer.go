package guard

import "sync/atomic"

// Buffer is a piece of guarded memory cut from a Slab. It must not be copied;
// pass it by pointer. Bytes and Free may be called from several goroutines, but
// whoever uses the bytes must make sure that nobody frees them meanwhile.
type Buffer struct {
	Redacted
	// r is nil once freed. That the bytes hang behind a pointer also keeps them
	// out of what fmt prints of a Buffer that was copied by mistake.
	r atomic.Pointer[region]
}

// region is where a Buffer lies.
type region struct {
	slab  *Slab
	seg   *segment
	first int // first granule in seg
	count int // granules
	mem   []byte
}

// Bytes returns the guarded bytes, zero when allocated. The slice is valid until
// Free or the slab's Close, nil after, and its capacity is its length. It may be
// given to read(2) as it is: io.ReadFull(conn, b.Bytes()) brings a secret from a
// socket into guarded memory without a copy elsewhere.
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

// Free wipes the bytes and gives them back to the slab. A second call, a call on
// nil and a call after the slab's Close do nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	if r := b.r.Swap(nil); r != nil {
		r.slab.release(r)
	}
}
