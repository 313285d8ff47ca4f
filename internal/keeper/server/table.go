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

// table holds a keeper's keys by number. Numbers are never reused, even by the next keeper,
// because they begin at the nanoseconds since boot: a late request can't reach another key.
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

// entry is one key. Its private key is in guarded memory from its first use, at the
// latest, until it is removed or evicted.
type entry struct {
	// open brings the private key into guarded memory; nil for an added key, which is
	// always there.
	open func() (*signer.Key, error)
	// expires is when an added key's lifetime ends; zero: never.
	expires clock.Instant

	// opening is held while open runs, so that a key is opened once. It is taken
	// before vault.mu, and mu after vault.mu: a load holds vault.mu while it drops
	// entries, and making room for a key closes others.
	opening sync.Mutex

	mu   sync.Mutex // guards the fields below; never held while opening or signing
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

// expire removes the keys whose lifetime has ended, and returns when the next one ends.
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

// len returns the number of keys, and of open keys.
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

// evict closes the least recently used half of the keys that can be reopened, and reports
// whether it closed any. Package signer wipes a key that is signing when it is done.
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

// acquire returns the private key. It opens it if necessary.
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

// current returns the private key if it is open, and records its use.
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

// lastUse returns when an open key was last used; zero if it isn't open.
func (e *entry) lastUse() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key == nil {
		return time.Time{}
	}
	return e.used
}

// close wipes the private key; the next use reopens it.
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

// parseKey parses an encoded private key into the slab, making room if necessary.
func (s *server) parseKey(encoded []byte) (key *signer.Key, rest []byte, err error) {
	for {
		key, rest, err = signer.Parse(s.slab, encoded)
		if !isFull(err) || !s.keys.evict() {
			return key, rest, keyError(err)
		}
	}
}

// alloc allocates n bytes of guarded memory, making room if necessary.
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
