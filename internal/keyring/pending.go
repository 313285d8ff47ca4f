package keyring

import (
	"fmt"

	"vigil/internal/id"
)

// Pending is a manifest together with changes that the backend doesn't have
// yet. It answers what a reader of the vault file asks (vaultfile.Manifest).
type Pending struct {
	deks    *Deks
	added   map[id.Revision]DEK
	removed map[id.Item]bool
}

// WithPending puts changes that wait on top of a manifest. Additions to items
// that the manifest has removed don't count.
func WithPending(d *Deks, u Update) *Pending {
	p := &Pending{deks: d, added: make(map[id.Revision]DEK, len(u.Add)), removed: make(map[id.Item]bool, len(u.Remove))}
	for _, e := range u.Add {
		if !d.Deleted(e.Item) {
			p.added[e.Revision] = e
		}
	}
	for _, item := range u.Remove {
		p.removed[item] = true
	}
	return p
}

// Lookup returns the DEK of a revision: the manifest's, or one that waits.
func (p *Pending) Lookup(revision id.Revision) (DEK, bool) {
	if e, ok := p.deks.Lookup(revision); ok {
		return e, true
	}
	e, ok := p.added[revision]
	return e, ok
}

// Waits reports whether the revision's DEK is not in the backend yet.
func (p *Pending) Waits(revision id.Revision) bool {
	_, waits := p.added[revision]
	_, stored := p.deks.Lookup(revision)
	return waits && !stored
}

// Has reports whether the item's revision has a DEK.
func (p *Pending) Has(item id.Item, revision id.Revision) bool {
	e, ok := p.Lookup(revision)
	return ok && e.Item == item
}

// Parents returns the parents of a revision that has a DEK.
func (p *Pending) Parents(revision id.Revision) []id.Revision {
	e, _ := p.Lookup(revision)
	return e.Parents
}

// Deleted reports whether the item was removed, or its removal waits.
func (p *Pending) Deleted(item id.Item) bool { return p.removed[item] || p.deks.Deleted(item) }

// Line returns the seal's stored line, without line feed, as a device keeps it
// for a DEK that waits while its KEK may be retired.
func (s *Seal) Line() []byte { return s.line() }

// ParseSeal reads what Line wrote.
func ParseSeal(line []byte) (Seal, error) {
	s, err := parseSeal(line)
	if err != nil {
		return Seal{}, fmt.Errorf("read KEK seal: %w", err)
	}
	return s, nil
}
