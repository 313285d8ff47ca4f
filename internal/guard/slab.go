package guard

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrFull reports that a slab has no room left and the lock limit or the kernel
// allows no more.
var ErrFull = errors.New("guarded memory is full")

// ErrClosed reports use of a slab after Close.
var ErrClosed = errors.New("guarded memory is closed")

// granule is the unit of allocation and its alignment, in bytes: a cache line,
// so that two keys never share one.
const granule = 64

// smallestSegment is the smallest mapping that NewSlab accepts, in bytes: room for
// a keeper's own keys and some hundreds of Ed25519 keys.
const smallestSegment = 64 << 10

// largestBuffer is the largest size of a buffer, in bytes. It is far above the
// largest secret (an agent message of 256 KiB). In a process exempt from the lock
// limit, it keeps a wrong length from mapping more memory than the machine has.
const largestBuffer = 16 << 20

// Kind is the kind of a slab's memory.
type Kind string

// The kinds of guarded memory, strongest first.
const (
	// SecretMemory is memfd_secret(2): unreadable from outside, even by root.
	SecretMemory Kind = "memfd_secret"
	// LockedMemory is anonymous memory, locked and kept out of core files, between pages
	// that fault.
	LockedMemory Kind = "mlock"
)

// Slab hands out guarded memory. It maps memory only while there are buffers: Linux can't
// hibernate while any memfd_secret(2) memory is mapped. It is safe for concurrent use.
type Slab struct {
	step   int  // bytes of a segment
	kind   Kind // what it maps at best
	closed atomic.Bool

	mu   sync.Mutex // guards segs and their fields, but not the memory itself
	segs []*segment
}

// segment is one mapping, divided into granules.
type segment struct {
	kind  Kind
	mem   []byte
	unmap func() error
	used  []uint64 // a bit for each granule
	free  int      // free granules
	hint  int      // where to look first
}

// NewSlab returns a slab that maps about size bytes of guarded memory at a time, or less
// (at least 64 KiB) if the lock limit allows no more: the limit counts mapped memory,
// touched or not. Pages of secret memory become resident only when they are used. If even 64 KiB is
// refused now, the error is a [*LockLimitError], which says what to raise. The caller
// closes the slab.
func NewSlab(size int) (*Slab, error) { return SecretMemory.NewSlab(size) }

// NewSlab is [NewSlab] for memory of the kind k at best. With LockedMemory the machine can
// hibernate while there are secrets, and writes them to the disk.
func (k Kind) NewSlab(size int) (*Slab, error) {
	if size <= 0 {
		return nil, fmt.Errorf("map guarded memory: size %d", size)
	}
	trial, err := mapSegment(k, size, min(size, smallestSegment))
	if err != nil {
		return nil, err
	}
	return &Slab{step: size, kind: trial.kind}, trial.unmap()
}

// Alloc allocates n zero bytes, aligned to 64, from the slab, which grows when it
// is full. It fails with ErrFull if the slab can't grow, and with ErrClosed after
// Close. The caller frees the buffer.
func (s *Slab) Alloc(n int) (*Buffer, error) {
	if n <= 0 {
		return nil, fmt.Errorf("allocate %d guarded bytes: not a size", n)
	}
	if n > largestBuffer {
		return nil, fmt.Errorf("allocate %d guarded bytes: %w", n, ErrFull)
	}
	count := (n-1)/granule + 1
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	for _, seg := range s.segs {
		if first, ok := seg.take(count); ok {
			return s.buffer(seg, first, count, n), nil
		}
	}
	need := (count + 1) * granule // locked memory keeps one for itself
	seg, err := mapSegment(s.kind, max(s.step, need), need)
	if err != nil {
		return nil, fmt.Errorf("allocate %d guarded bytes: %w: %w", n, ErrFull, err)
	}
	s.segs = append(s.segs, seg)
	first, _ := seg.take(count)
	return s.buffer(seg, first, count, n), nil
}

func (s *Slab) buffer(seg *segment, first, count, n int) *Buffer {
	at := first * granule
	b := new(Buffer)
	b.r.Store(&region{slab: s, seg: seg, first: first, count: count, mem: seg.mem[at : at+n : at+n]})
	return b
}

// release wipes a region and marks it free.
func (s *Slab) release(r *region) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return // already wiped and unmapped
	}
	Wipe(r.mem)
	r.seg.give(r.first, r.count)
	if slices.ContainsFunc(s.segs, func(g *segment) bool { return g.free*granule < len(g.mem) }) {
		return
	}
	for _, g := range s.segs {
		_ = g.unmap() // it is a mapping, and wiped
	}
	s.segs = nil
}

// Usage says how much of a slab is in use.
type Usage struct {
	Kind   Kind // the weakest kind among its mappings, or what it would map
	Mapped int  // bytes mapped, which count against the lock limit
	Used   int  // bytes handed out, rounded up to what they occupy
}

// Usage reports how much of the slab is in use.
func (s *Slab) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Kind: s.kind}
	for _, seg := range s.segs {
		if seg.kind != SecretMemory {
			u.Kind = seg.kind
		}
		u.Mapped += len(seg.mem)
		u.Used += len(seg.mem) - seg.free*granule
	}
	return u
}

// Close wipes everything still allocated and unmaps the memory; afterwards Bytes
// of its buffers returns nil. No goroutine may be using the bytes of a buffer: an
// access would fault. A second call does nothing.
func (s *Slab) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, seg := range s.segs {
		seg.wipeUsed()
		errs = append(errs, seg.unmap())
	}
	s.segs = nil
	return errors.Join(errs...)
}

// mapSegment maps want bytes of the best kind that there is, up to best, or half of it
// and so on down to least.
func mapSegment(best Kind, want, least int) (*segment, error) {
	page := os.Getpagesize()
	want, least = roundUp(want, page), roundUp(least, page)
	for {
		mem, kind, unmap, err := mapGuarded(best, want)
		if err == nil {
			n := len(mem) / granule
			return &segment{kind: kind, mem: mem, unmap: unmap, used: make([]uint64, (n+63)/64), free: n}, nil
		}
		if want == least {
			return nil, err
		}
		want = max(least, roundUp(want/2, page))
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// take finds count free granules in a row and marks them used. The search is
// first fit from where the last one ended, a word of the bitmap at a time.
func (g *segment) take(count int) (first int, ok bool) {
	if count > g.free {
		return 0, false
	}
	n := len(g.mem) / granule
	if first, ok = g.find(g.hint, n, count); !ok {
		first, ok = g.find(0, min(n, g.hint+count), count)
	}
	if !ok {
		return 0, false
	}
	for i := first; i < first+count; i++ {
		g.used[i/64] |= 1 << (i % 64)
	}
	g.free -= count
	g.hint = first + count
	return first, true
}

// find returns the first of count free granules in a row in [from, to).
func (g *segment) find(from, to, count int) (int, bool) {
	for i := from; i+count <= to; {
		// Skip used granules, then measure the free run behind them.
		if w := ^g.used[i/64] >> (i % 64); w == 0 {
			i = (i/64 + 1) * 64
			continue
		} else if skip := bits.TrailingZeros64(w); skip > 0 {
			i += skip
			continue
		}
		end := i
		for end < to && end-i < count && g.used[end/64]&(1<<(end%64)) == 0 {
			end++
		}
		if end-i == count {
			return i, true
		}
		i = end
	}
	return 0, false
}

// give marks granules free; the caller has wiped them.
func (g *segment) give(first, count int) {
	for i := first; i < first+count; i++ {
		g.used[i/64] &^= 1 << (i % 64)
	}
	g.free += count
	g.hint = min(g.hint, first)
}

// wipeUsed wipes only the granules in use: making a page of secret memory resident
// to clear it costs 30 µs, and freed granules are already wiped.
func (g *segment) wipeUsed() {
	for i, w := range g.used {
		for ; w != 0; w &= w - 1 {
			at := (i*64 + bits.TrailingZeros64(w)) * granule
			Wipe(g.mem[at : at+granule])
		}
	}
}
