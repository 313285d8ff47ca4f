package keyring

import (
	"fmt"

	"vigil/internal/id"
)

// DeksPin is what a device remembers of the manifest it last accepted. The
// zero pin is that of a device that has seen none.
type DeksPin struct {
	KEK   uint64 `json:"kek"`
	Epoch uint64 `json:"epoch"`
	// SHA256 is Deks.Hash.
	SHA256 id.Hash `json:"sha256"`
}

// Pin returns the place that a parsed manifest has.
func (d *Deks) Pin() DeksPin { return DeksPin{KEK: d.kek, Epoch: d.epoch, SHA256: d.hash} }

// Extends checks that d is not older than what this device has seen, not another
// object of the same epoch, and not further on than writes can bring it. An
// older KEK is older whatever the epoch. Its error is a *HistoryError.
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

// Follows checks that d can have come of last, which this device accepted
// before: what was removed stays removed, and a revision goes with its item or
// in favour of a later one. Else somebody was shown another history, whose end
// this is. Its error is a *HistoryError of StageFork.
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
	for i := range last.deks {
		e := &last.deks[i]
		now, there := d.Lookup(e.Revision)
		switch {
		case d.dead[e.Item]:
		case there && !now.same(e):
			return fork("revision %v of item %v has become another", e.Revision, e.Item)
		case there && e.Superseded != 0 && now.Superseded == 0:
			return fork("revision %v of item %v was superseded, and is in use again", e.Revision, e.Item)
		case !there && !d.replaces(e, last):
			return fork("revision %v of item %v is gone", e.Revision, e.Item)
		}
	}
	return nil
}

// replaces reports whether d has a revision that came after e: one that descends
// from it or, where those in between were collected too, one that is new and
// descends from something that neither manifest has.
func (d *Deks) replaces(e *DEK, last *Deks) bool {
	for i := range d.deks {
		later := &d.deks[i]
		if later.Item != e.Item {
			continue
		}
		found, unknown := d.descends(later.Parents, e.Revision, last, map[id.Revision]bool{})
		if _, had := last.byRevision[later.Revision]; found || unknown && !had {
			return true
		}
	}
	return false
}

// descends looks for a revision among the ancestors, and for an ancestor that
// neither manifest has.
func (d *Deks) descends(parents []id.Revision, from id.Revision, last *Deks, seen map[id.Revision]bool) (found, unknown bool) {
	for _, p := range parents {
		if seen[p] {
			continue
		}
		seen[p] = true
		e, ok := d.Lookup(p)
		if !ok {
			e, ok = last.Lookup(p)
		}
		f, u := p == from, !ok
		if ok && !f {
			f, u = d.descends(e.Parents, from, last, seen)
		}
		found, unknown = found || f, unknown || u
	}
	return found, unknown
}
