package keyring

import (
	"iter"
	"slices"

	"vigil/internal/id"
)

// Pending is a manifest together with changes that the backend doesn't have
// yet. It implements vaultfile.Manifest.
type Pending struct {
	deks       *Deks
	added      []DEK
	byRevision map[id.Revision]int // index into added
	superseded map[id.Revision]bool
	removed    map[id.Item]bool
}

// WithPending returns a manifest with pending changes on top. It ignores
// additions that the manifest already has, and those to items that it has removed
// or whose history has moved past them. An addition comes after those that it replaces.
func WithPending(d *Deks, u Update) *Pending {
	p := &Pending{deks: d, byRevision: map[id.Revision]int{}, superseded: map[id.Revision]bool{}, removed: make(map[id.Item]bool, len(u.Remove))}
	for _, e := range u.Add {
		if d.Lookup(e.Revision) != nil || d.Deleted(e.Item) || d.past(&e) && !p.follows(&e) {
			continue
		}
		p.byRevision[e.Revision] = len(p.added)
		p.added = append(p.added, e)
	}
	for _, e := range p.added {
		for _, parent := range e.Parents {
			p.superseded[parent] = true
		}
	}
	for _, item := range u.Remove {
		p.removed[item] = true
	}
	return p
}

// follows reports whether e replaces a pending revision.
func (p *Pending) follows(e *DEK) bool {
	return slices.ContainsFunc(e.Parents, func(parent id.Revision) bool {
		i, ok := p.byRevision[parent]
		return ok && p.added[i].Item == e.Item
	})
}

// Lookup returns the DEK of a revision, stored or pending, or nil. Superseded is
// 0 only for heads; it is 1 if a pending change replaces the revision. The caller
// must not change the result.
func (p *Pending) Lookup(revision id.Revision) *DEK {
	e := p.deks.Lookup(revision)
	if i, ok := p.byRevision[revision]; e == nil && ok {
		e = &p.added[i]
	}
	if e != nil && e.Superseded == 0 && p.superseded[revision] {
		replaced := *e
		replaced.Superseded = 1
		return &replaced
	}
	return e
}

// Heads returns the revisions, of items that weren't removed, that have not been
// superseded. The caller must not change them.
func (p *Pending) Heads() iter.Seq[*DEK] {
	return func(yield func(*DEK) bool) {
		for _, list := range [][]DEK{p.deks.deks, p.added} {
			for i := range list {
				e := &list[i]
				if e.Superseded == 0 && !p.superseded[e.Revision] && !p.removed[e.Item] && !yield(e) {
					return
				}
			}
		}
	}
}

// Deleted reports whether the item was removed, or its removal is pending.
func (p *Pending) Deleted(item id.Item) bool { return p.removed[item] || p.deks.Deleted(item) }
