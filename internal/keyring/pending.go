package keyring

import (
	"iter"

	"vigil/internal/id"
)

// Pending is a manifest together with changes that the backend doesn't have
// yet. It answers what a reader of the vault file asks (vaultfile.Manifest).
type Pending struct {
	deks       *Deks
	added      []DEK
	byRevision map[id.Revision]int // of added
	superseded map[id.Revision]bool
	removed    map[id.Item]bool
}

// WithPending puts changes that wait on top of a manifest. Additions that the
// manifest has, or to items that it has removed or that have gone on without
// them, don't count.
func WithPending(d *Deks, u Update) *Pending {
	p := &Pending{deks: d, byRevision: map[id.Revision]int{}, superseded: map[id.Revision]bool{}, removed: make(map[id.Item]bool, len(u.Remove))}
	for _, e := range u.Add {
		if d.Lookup(e.Revision) != nil || d.Deleted(e.Item) || d.past(&e) {
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

// Lookup returns the DEK of a revision: the manifest's, or one that waits.
// Superseded is 0 for none but heads; what a change that waits replaces has 1.
// Nobody may change it; nil: there is none.
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

// Heads are the revisions that nothing has superseded, of items that weren't
// removed. They are p's own.
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

// Deleted reports whether the item was removed, or its removal waits.
func (p *Pending) Deleted(item id.Item) bool { return p.removed[item] || p.deks.Deleted(item) }
