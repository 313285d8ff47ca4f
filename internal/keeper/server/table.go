package server

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vigil/internal/clock"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/signer"
)

// table holds the keys of a keeper by number. Numbers are never used twice, not
// even by the keeper that comes after this one, as they begin at the time since
// boot in nanoseconds: a late request can't meet another key than it meant.
type table struct {
	last atomic.Uint64

	mu   sync.RWMutex // guards keys; never held while a key is opened or used
	keys map[uint64]*entry
}

func newTable() *table {
	t := &table{keys: make(map[uint64]*entry)}
	t.last.Store(uint64(clock.Now().Boot()))
	return t
}

// entry is one key. Its private half is in guarded memory from its first use
// on, and at the latest from then until it's removed or evicted.
type entry struct {
	// open brings the private half into guarded memory; nil for a key that was
	// added and so has been there from the start.
	open func() (*signer.Key, error)
	// expires is when an added key's lifetime ends; zero means never.
	expires clock.Instant

	// opening is held while open runs, so that a key is opened once. It is taken
	// before vault.mu, and mu after it: whoever loads a vault holds vault.mu and
	// drops entries, and whoever makes room closes others while one is opened.
	opening sync.Mutex

	mu   sync.Mutex // guards what follows; never held while opening or signing
	key  *signer.Key
	gone bool // removed
	used time.Time
}

func (t *table) add(e *entry) uint64 {
	number := t.last.Add(1)
	t.mu.Lock()
	t.keys[number] = e
	t.mu.Unlock()
	return number
}

func (t *table) get(number uint64) (*entry, bool) {
	t.mu.RLock()
	e, ok := t.keys[number]
	t.mu.RUnlock()
	return e, ok
}

func (t *table) remove(number uint64) bool {
	t.mu.Lock()
	e, ok := t.keys[number]
	delete(t.keys, number)
	t.mu.Unlock()
	if ok {
		e.drop()
	}
	return ok
}

func (t *table) removeAll() {
	t.mu.Lock()
	keys := t.keys
	t.keys = make(map[uint64]*entry)
	t.mu.Unlock()
	for _, e := range keys {
		e.drop()
	}
}

// expire removes the keys whose lifetime has ended and returns when the next one ends.
func (t *table) expire(now clock.Instant) (next clock.Instant) {
	t.mu.Lock()
	var over []*entry
	for number, e := range t.keys {
		switch {
		case e.expires.IsZero():
		case e.expires.Passed(now):
			delete(t.keys, number)
			over = append(over, e)
		default:
			next = clock.Earlier(next, e.expires)
		}
	}
	t.mu.Unlock()
	for _, e := range over {
		e.drop()
	}
	return next
}

// len returns how many keys there are, and how many of them are open.
func (t *table) len() (all, open int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range t.keys {
		e.mu.Lock()
		if e.key != nil {
			open++
		}
		e.mu.Unlock()
	}
	return len(t.keys), open
}

// evict closes keys that can be opened again, the least recently used half of
// them, and reports whether it closed any. A key that is signing is wiped by
// signer when it's done.
func (t *table) evict() bool {
	t.mu.RLock()
	open := make([]*entry, 0, len(t.keys))
	for _, e := range t.keys {
		if e.open != nil && e.lastUse() != (time.Time{}) {
			open = append(open, e)
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(open, func(a, b *entry) int { return a.lastUse().Compare(b.lastUse()) })
	for _, e := range open[:(len(open)+1)/2] {
		e.close()
	}
	return len(open) > 0
}

// acquire returns the private half, opened if need be.
func (e *entry) acquire() (*signer.Key, error) {
	if key, err := e.current(); key != nil || err != nil {
		return key, err
	}
	e.opening.Lock()
	defer e.opening.Unlock()
	if key, err := e.current(); key != nil || err != nil { // opened meanwhile
		return key, err
	}
	key, err := e.open()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		key.Free()
		return nil, keeper.ErrNoKey
	}
	e.key, e.used = key, time.Now()
	return key, nil
}

// current returns the private half if it's open, and notes its use.
func (e *entry) current() (*signer.Key, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone || !e.expires.IsZero() && e.expires.Passed(clock.Now()) {
		return nil, keeper.ErrNoKey
	}
	if e.key != nil {
		e.used = time.Now()
	}
	return e.key, nil
}

// lastUse is when an open key was used last; zero when it isn't open.
func (e *entry) lastUse() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key == nil {
		return time.Time{}
	}
	return e.used
}

// close wipes the private half; the next use opens it again.
func (e *entry) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key != nil {
		e.key.Free()
		e.key = nil
	}
}

func (e *entry) drop() {
	e.mu.Lock()
	e.gone = true
	e.mu.Unlock()
	e.close()
}

// parseKey moves an encoded private key into the slab, making room if need be.
func (s *server) parseKey(encoded []byte) (key *signer.Key, rest []byte, err error) {
	for {
		key, rest, err = signer.Parse(s.slab, encoded)
		if !isFull(err) || !s.keys.evict() {
			return key, rest, keyError(err)
		}
	}
}

// alloc takes n bytes of guarded memory, making room if need be.
func (s *server) alloc(n int) (*guard.Buffer, error) {
	for {
		b, err := s.slab.Alloc(n)
		if !isFull(err) {
			return b, err
		}
		if !s.keys.evict() {
			return nil, fmt.Errorf("%w: %w", keeper.ErrFull, err)
		}
	}
}
