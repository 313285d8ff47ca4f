package keyring

import (
	"fmt"
	"maps"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// KeepSuperseded is how long a superseded revision keeps its DEK, and so can be
// restored, in seconds: 30 days.
const KeepSuperseded = 30 * 24 * 60 * 60

// Update is what one write adds and removes. It is kept until the write has
// succeeded, so that it can be applied again to a newer manifest.
type Update struct {
	// Add are new revisions, wrapped by the manifest's KEK. Superseded is
	// ignored. Parents must be sorted (SortParents).
	Add []DEK
	// Remove are the items to remove permanently.
	Remove []id.Item
	// Consents are those to the removals, in their order, without which a keeper makes
	// none. Apply doesn't look at them.
	Consents [][]byte
}

// Apply returns the next manifest: its epoch is one higher, it names m's head, u
// is applied, and the revisions that u.Add replaces are marked as superseded at
// now (Unix seconds). Existing entries don't change, so Apply is idempotent.
//
// Apply returns in deleted, and leaves out, additions to an item with a tombstone,
// which was removed elsewhere, and to an item of which no revision that they
// replace is left: its history has moved past them, and an old change may have
// been replayed. The error wraps ErrChange if an addition contradicts d, or if d
// is under an older KEK than m's newest: call Rewrap first, because a removed
// identity may know the older one.
func (d *Deks) Apply(u Update, m *Members, now uint64) (next *Deks, deleted []DEK, err error) {
	if d.kek != m.KEK() {
		return nil, nil, fmt.Errorf("apply to deks: %w: it is under KEK %d, and the newest is %d", ErrChange, d.kek, m.KEK())
	}
	next = d.next(m)
	for _, item := range u.Remove {
		next.remove(item)
	}
	for i := range u.Add {
		add := u.Add[i]
		if next.Deleted(add.Item) || next.past(&add) {
			deleted = append(deleted, add)
			continue
		}
		if err := next.insert(add); err != nil {
			return nil, nil, fmt.Errorf("apply to deks: %w", err)
		}
	}
	next.supersede(now)
	return next, deleted, nil
}

// past reports whether the history of add's item has moved past it. An addition
// that replaces a revision of d, or was replaced by one, is part of the history.
func (d *Deks) past(add *DEK) bool {
	if _, there := d.byRevision[add.Revision]; there {
		return false
	}
	gone := false
	for i := range d.deks {
		if e := &d.deks[i]; e.Item == add.Item {
			if slices.Contains(e.Parents, add.Revision) || slices.Contains(add.Parents, e.Revision) {
				return false
			}
			gone = true
		}
	}
	return gone
}

// next returns a copy to change, with the next epoch and m's head.
func (d *Deks) next(m *Members) *Deks {
	return &Deks{
		vault: d.vault, kek: d.kek, epoch: d.epoch + 1, head: m.Head(),
		deks: slices.Clone(d.deks), byRevision: maps.Clone(d.byRevision),
		tombstones: slices.Clone(d.tombstones), dead: maps.Clone(d.dead),
	}
}

func (d *Deks) remove(item id.Item) {
	if d.Deleted(item) {
		return
	}
	d.dead[item] = true
	d.tombstones = append(d.tombstones, item)
	d.filter(func(e *DEK) bool { return e.Item != item })
}

// filter keeps the revisions for which keep holds.
func (d *Deks) filter(keep func(*DEK) bool) {
	kept := d.deks[:0]
	clear(d.byRevision)
	for i := range d.deks {
		if keep(&d.deks[i]) {
			d.byRevision[d.deks[i].Revision] = len(kept)
			kept = append(kept, d.deks[i])
		}
	}
	d.deks = kept
}

func (d *Deks) insert(add DEK) error {
	if !slices.Equal(add.Parents, SortParents(add.Parents)) || len(add.Parents) > MaxParents {
		return fmt.Errorf("%w: parents of revision %v are not sorted or too many", ErrChange, add.Revision)
	}
	if slices.Contains(add.Parents, add.Revision) {
		return fmt.Errorf("%w: revision %v is its own parent", ErrChange, add.Revision)
	}
	if i, ok := d.byRevision[add.Revision]; ok {
		have := &d.deks[i]
		if !have.same(&add) {
			return fmt.Errorf("%w: revision %v exists and differs", ErrChange, add.Revision)
		}
		return nil
	}
	if add.Waits {
		return fmt.Errorf("%w: the DEK of revision %v isn't wrapped by KEK %d", ErrChange, add.Revision, d.kek)
	}
	add.Superseded = 0
	d.byRevision[add.Revision] = len(d.deks)
	d.deks = append(d.deks, add)
	return nil
}

// same reports whether e and o are the same revision, regardless of how its DEK
// is wrapped and whether it was superseded.
func (e *DEK) same(o *DEK) bool {
	return e.Item == o.Item && e.Revision == o.Revision && slices.Equal(e.Parents, o.Parents) && e.Line == o.Line && e.Tightens == o.Tightens
}

// supersede marks every parent that is not marked yet. A clock before 1970
// counts as its first second: 0 would mean a head.
func (d *Deks) supersede(now uint64) {
	now = min(max(now, 1), canon.MaxInt)
	for i := range d.deks {
		for _, p := range d.deks[i].Parents {
			if j, ok := d.byRevision[p]; ok && d.deks[j].Superseded == 0 && d.deks[j].Item == d.deks[i].Item {
				d.deks[j].Superseded = now
			}
		}
	}
}

// Rewrap returns the first manifest under m's newest KEK, with every DEK wrapped
// by it. Once it is stored, nothing needs the older KEKs.
func (d *Deks) Rewrap(m *Members, rewrap func(DEK) ([WrappedDEKSize]byte, error)) (*Deks, error) {
	next := d.next(m)
	next.kek, next.epoch = m.KEK(), 1
	for i := range next.deks {
		e := &next.deks[i]
		wrapped, err := rewrap(*e)
		if err != nil {
			return nil, fmt.Errorf("rewrap DEK of revision %v: %w", e.Revision, err)
		}
		e.Wrapped = wrapped
	}
	return next, nil
}

// Collect returns the next manifest without the DEKs that were superseded more
// than 30 days before now (Unix seconds) and have a descendant that is, as held
// reports, in this device's own fsynced vault file. A revision is collected only
// together with all its ancestors, so that the rest still shows which revision
// replaced which. Collect returns d itself if there is nothing to collect.
func (d *Deks) Collect(m *Members, now uint64, held func(id.Item, id.Revision) bool) (next *Deks, collected []DEK) {
	if d.kek != m.KEK() {
		return d, nil // a rotation is under way
	}
	gone := d.collectible(now, held)
	if len(gone) == 0 {
		return d, nil
	}
	next = d.next(m)
	next.filter(func(e *DEK) bool {
		if gone[e.Revision] {
			collected = append(collected, *e)
		}
		return !gone[e.Revision]
	})
	return next, collected
}

func (d *Deks) collectible(now uint64, held func(id.Item, id.Revision) bool) map[id.Revision]bool {
	// covered are the ancestors of the revisions in the file.
	covered := map[id.Revision]bool{}
	children := make(map[id.Revision][]id.Revision, len(d.deks))
	for i := range d.deks {
		e := &d.deks[i]
		for _, p := range e.Parents {
			children[p] = append(children[p], e.Revision)
		}
		if held(e.Item, e.Revision) {
			d.spread(e.Parents, covered, func(a *DEK) []id.Revision { return a.Parents })
		}
	}
	// stays are the revisions to keep, with all their descendants.
	stays := map[id.Revision]bool{}
	for i := range d.deks {
		e := &d.deks[i]
		if e.Superseded == 0 || e.Superseded+KeepSuperseded >= now || !covered[e.Revision] {
			d.spread([]id.Revision{e.Revision}, stays, func(s *DEK) []id.Revision { return children[s.Revision] })
		}
	}
	gone := map[id.Revision]bool{}
	for i := range d.deks {
		if r := d.deks[i].Revision; !stays[r] {
			gone[r] = true
		}
	}
	return gone
}

// spread adds to a set all revisions reachable from the given ones.
func (d *Deks) spread(from []id.Revision, to map[id.Revision]bool, onward func(*DEK) []id.Revision) {
	for next := slices.Clone(from); len(next) > 0; {
		r := next[len(next)-1]
		next = next[:len(next)-1]
		i, there := d.byRevision[r]
		if !there || to[r] {
			continue
		}
		to[r] = true
		next = append(next, onward(&d.deks[i])...)
	}
}
