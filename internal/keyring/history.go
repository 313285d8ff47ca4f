package keyring

import (
	"cmp"
	"fmt"
	"slices"

	"vigil/internal/id"
)

// Pins are the last states of both keyring objects that a device accepted. Older
// ones, and ones that don't extend them, are refused from then on.
type Pins struct {
	Members MembersPin `json:"members"`
	Deks    DeksPin    `json:"deks"`
}

// Known is what a device knows of a keyring from before.
type Known struct {
	Pins
	// Last is the deks object of the pins, or nil where the device has no copy.
	Last []byte
}

// DeksPin is what a device remembers of the manifest it accepted last. It is zero
// on a device that has seen none.
type DeksPin struct {
	KEK   uint64 `json:"kek"`
	Epoch uint64 `json:"epoch"`
	// SHA256 is Deks.Hash.
	SHA256 id.Hash `json:"sha256"`
}

// Pin returns the pin of a parsed manifest.
func (d *Deks) Pin() DeksPin { return DeksPin{KEK: d.kek, Epoch: d.epoch, SHA256: d.hash} }

// Extends checks that d is not older than what this device has seen, not another
// object of the same epoch, and at most MaxStep epochs ahead. An object under an
// older KEK is older, whatever its epoch. Its error is a *HistoryError.
func (d *Deks) Extends(pin DeksPin) error {
	h := &HistoryError{
		Object: ObjectDeks, Expected: pin.Epoch, Found: d.epoch, ExpectedHash: pin.SHA256, FoundHash: d.hash,
		ExpectedKEK: pin.KEK, FoundKEK: d.kek,
	}
	from := pin.Epoch
	if d.kek > pin.KEK {
		from = 0
	}
	switch {
	case d.kek < pin.KEK, d.epoch < from:
		h.Stage = StageRollback
	case d.kek == pin.KEK && d.epoch == from && d.hash != pin.SHA256:
		h.Stage = StageFork
	case pin.KEK > 0 && d.epoch-from > MaxStep:
		h.Stage = StageFork
		h.What = fmt.Sprintf("epoch %d of KEK %d is more than %d after epoch %d", d.epoch, d.kek, MaxStep, from)
	default:
		return nil
	}
	return h
}

// Follows checks that d can descend from last, which this device accepted before:
// removed items stay removed, and a revision disappears only if its item was
// removed or a later revision replaced it. Otherwise d belongs to a fork that
// another device was shown. Its error is a *HistoryError of StageFork.
func (d *Deks) Follows(last *Deks) error {
	fork := func(format string, args ...any) error {
		return &HistoryError{
			Object: ObjectDeks, Stage: StageFork, Expected: last.epoch, Found: d.epoch, ExpectedHash: last.hash, FoundHash: d.hash,
			ExpectedKEK: last.kek, FoundKEK: d.kek, What: fmt.Sprintf(format, args...),
		}
	}
	for _, item := range last.tombstones {
		if !d.dead[item] {
			return fork("item %v was removed, and epoch %d of KEK %d knows nothing of it", item, d.epoch, d.kek)
		}
	}
	var came *descent // computed only if a revision is gone, which is rare
	for i := range last.deks {
		e := &last.deks[i]
		now := d.Lookup(e.Revision)
		switch {
		case d.dead[e.Item]:
		case now == nil:
			if came == nil {
				came = d.descent(last)
			}
			if !came.after(e) {
				return fork("revision %v of item %v is gone", e.Revision, e.Item)
			}
		case !now.same(e):
			return fork("revision %v of item %v has become another", e.Revision, e.Item)
		case e.Superseded != 0 && now.Superseded == 0:
			return fork("revision %v of item %v was superseded, and is in use again", e.Revision, e.Item)
		}
	}
	return nil
}

// descent holds the ancestors of a manifest's revisions.
type descent struct {
	ancestors map[id.Revision]bool
	// beyond holds the items with a new revision that descends from a revision
	// which neither manifest has.
	beyond map[id.Item]bool
}

// after reports whether some revision came after e: one that descends from it or,
// if those in between were collected too, a new one with an ancestor that neither
// manifest has.
func (c *descent) after(e *DEK) bool { return c.ancestors[e.Revision] || c.beyond[e.Item] }

// descent returns the ancestors of d's revisions, as far as d and last know them.
// It visits each revision once, however their histories cross, or a writer could
// keep this device busy for hours. One visit is enough because the new revisions
// come first.
func (d *Deks) descent(last *Deks) *descent {
	c := &descent{ancestors: make(map[id.Revision]bool, len(d.deks)), beyond: map[id.Item]bool{}}
	for _, isNew := range []bool{true, false} {
		for i := range d.deks {
			e := &d.deks[i]
			if _, had := last.byRevision[e.Revision]; had == isNew {
				continue
			}
			c.walk(e, func(r id.Revision) *DEK { return cmp.Or(d.Lookup(r), last.Lookup(r)) }, isNew)
		}
	}
	return c
}

// walk adds the ancestors of e. It ignores a parent that belongs to another item.
func (c *descent) walk(e *DEK, lookup func(id.Revision) *DEK, isNew bool) {
	for next := slices.Clone(e.Parents); len(next) > 0; {
		p := next[len(next)-1]
		next = next[:len(next)-1]
		a := lookup(p)
		switch {
		case a == nil && isNew:
			c.beyond[e.Item] = true
		case a != nil && a.Item == e.Item && !c.ancestors[p]:
			c.ancestors[p] = true
			next = append(next, a.Parents...)
		}
	}
}
