package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// loadItems makes the revisions of the vault file usable that have a DEK, and
// forgets those that have none any more. It appends a Loaded to out. A damaged
// item is reported and doesn't stop the others. replaced are the revisions that
// don't serve again.
func (v *vault) loadItems(parsed *vaultfile.File, replaced []id.Revision, out []byte) []byte {
	manifest := v.ring.Manifest()
	tried := v.tryAll(parsed, manifest)
	view := parsed.See(manifest, func(line *vaultfile.Revision) bool { return tried[line.Revision].problem == "" })
	gone := make(map[id.Revision]bool, len(replaced))
	for _, revision := range replaced {
		gone[revision] = true
	}
	var use []*item
	waiting := uint32(0)
	kept, bad := make(map[id.Revision]*item, len(tried)), map[id.Revision]bool{}
	for i := range parsed.Revisions() {
		line := &parsed.Revisions()[i]
		it := tried[line.Revision]
		switch view.States[i] {
		case vaultfile.WaitingForKey:
			waiting++
			continue
		case vaultfile.Ready:
			it.state = ItemReady
		case vaultfile.Outdated:
			it.state = ItemOutdated
			if gone[line.Revision] {
				it.state = ItemReplaced
			}
		case vaultfile.Unusable:
			if it == nil {
				it = &item{line: *line, problem: fmt.Sprintf("item %v: %v", line.Item, errForged)}
			}
			if !bad[line.Revision] { // one of a revision is enough
				use = append(use, it)
			}
			bad[line.Revision] = true
			continue
		default:
			continue
		}
		if view.Held[line.Item] {
			it.state = ItemHeld
		}
		kept[line.Revision] = it
		use = append(use, it)
	}
	out = appendPins(out, v.ring.Pins())
	out = wire.AppendBool(out, v.ring.Opens(v.ring.Members().KEK()))
	out = wire.AppendUint32(out, waiting)
	out = wire.AppendUint32(out, uint32(len(view.Missing)))
	for _, e := range view.Missing {
		out = append(append(out, e.Item[:]...), e.Revision[:]...)
	}
	out = appendRevisions(out, stillReplaced(view.Replaced, replaced, manifest))
	out = wire.AppendUint32(out, uint32(len(use)))
	for _, it := range use {
		out = v.offer(it, out)
	}
	v.keep(kept)
	return out
}

// errForged is the problem of a line that isn't the one that was saved.
var errForged = errors.New("its line in the vault file is not the one that was saved")

// stillReplaced are the revisions that don't serve again from now on, sorted: those
// that were replaced in this file or before it, and that the manifest still has.
// Nothing brings others back. The front keeps them, once the file is the one on
// the disk.
func stillReplaced(now map[id.Revision]bool, before []id.Revision, manifest *keyring.Pending) []id.Revision {
	for _, revision := range before {
		now[revision] = true
	}
	for revision := range now {
		if manifest.Lookup(revision) == nil {
			delete(now, revision)
		}
	}
	return slices.SortedFunc(maps.Keys(now), func(a, b id.Revision) int { return bytes.Compare(a[:], b[:]) })
}

// keep forgets the items that aren't among kept. The key of a removed item stops
// signing at once, that of a superseded revision at the next load.
func (v *vault) keep(kept map[id.Revision]*item) {
	v.dropStale()
	there := make(map[id.Item]bool, len(kept))
	for _, it := range kept {
		there[it.line.Item] = true
	}
	for revision, it := range v.items {
		switch {
		case kept[revision] == it:
		case there[it.line.Item]:
			v.stale = append(v.stale, it.number)
		default:
			v.server.keys.remove(it.number)
		}
	}
	v.items = kept
}

// tryAll tries every genuine line, on all cores: at an unlock they are all new.
func (v *vault) tryAll(parsed *vaultfile.File, manifest *keyring.Pending) map[id.Revision]*item {
	lines, sums := parsed.Revisions(), parsed.Sums()
	items := make([]*item, len(lines))
	var workers sync.WaitGroup
	share := max(minShare, (len(lines)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for start := 0; start < len(lines); start += share {
		end := min(start+share, len(lines))
		workers.Go(func() {
			for i := start; i < end; i++ {
				if dek := manifest.Lookup(lines[i].Revision); dek != nil && dek.Item == lines[i].Item && dek.Line == sums[i] {
					items[i] = v.tryItem(lines[i], *dek)
				}
			}
		})
	}
	workers.Wait()
	tried := make(map[id.Revision]*item, len(lines))
	for i, it := range items {
		if it != nil {
			tried[lines[i].Revision] = it
		}
	}
	return tried
}

// minShare is the least number of lines that are worth a goroutine.
const minShare = 256

// tryItem opens the metadata of a revision, unless it's known already.
func (v *vault) tryItem(line vaultfile.Revision, dek keyring.DEK) *item {
	if old := v.items[line.Revision]; old != nil && old.dek.Line == dek.Line {
		old.dek = dek // it may have been rewrapped
		return old
	}
	it := &item{line: line, dek: dek}
	meta, err := v.ring.OpenMeta(&it.line, &it.dek)
	if err != nil {
		it.problem = err.Error()
	}
	it.meta = meta
	return it
}

// offer reports an item to the front, with a number under which it signs if it
// may.
func (v *vault) offer(it *item, out []byte) []byte {
	serves := it.problem == "" && (it.state == ItemReady || it.state == ItemOutdated)
	switch {
	case serves && it.number == 0:
		it.number = v.server.keys.add(&entry{open: func() (*signer.Key, error) { return v.openKey(it) }})
	case !serves && it.number != 0:
		v.server.keys.remove(it.number)
		it.number = 0
	}
	out = appendItem(out, it)
	it.meta = nil // the front has it from now on
	return out
}

// Where the private key of a new revision comes from.
const (
	fromDraft    byte = iota + 1 // a number of drafts: an imported or generated key
	fromRevision                 // the revision it replaces, whose metadata is edited
)

// seal makes a new revision under a new DEK: its line for the vault file, and
// its entry for deks.
func (s *server) seal(r *wire.Reader, out []byte) ([]byte, error) {
	from, number, source := r.Byte(), r.Uint64(), r.Bytes(len(id.Revision{}))
	line := vaultfile.Revision{Revision: id.NewRevision()}
	copy(line.Item[:], r.Bytes(len(line.Item)))
	line.Parents = readRevisions(r)
	meta := r.String()
	if r.End() != nil {
		return out, ErrBadRequest
	}
	var dek keyring.DEK
	err := s.withVault(func(v *vault) error {
		sealIt := func(secret []byte) (err error) {
			dek, err = v.ring.Seal(&line, meta, secret, v.tightens(line.Parents, meta))
			return err
		}
		if from == fromDraft {
			return s.withDraft(number, sealIt)
		}
		it := v.items[id.Revision(source)]
		if it == nil {
			return ErrNoKey
		}
		return v.ring.WithSecret(&it.line, &it.dek, sealIt)
	})
	if err != nil {
		return out, err
	}
	out = wire.AppendString(out, line.AppendLine(nil))
	return appendDEK(out, &dek), nil
}

// tightens tells whether new metadata restricts a key's use more than a revision
// that it replaces. What can't be read counts as the laxest.
func (v *vault) tightens(parents []id.Revision, meta []byte) bool {
	next, err := vaultfile.ParseMeta(meta)
	return err != nil || slices.ContainsFunc(parents, func(p id.Revision) bool {
		var old vaultfile.Meta
		if it := v.items[p]; it != nil {
			if text, err := v.ring.OpenMeta(&it.line, &it.dek); err == nil {
				old, _ = vaultfile.ParseMeta(text)
			}
		}
		return next.Policy.Tightens(&old.Policy)
	})
}

// withDraft runs f on a draft's private key, and forgets the draft when f is content.
func (s *server) withDraft(number uint64, f func(secret []byte) error) error {
	s.mu.Lock()
	d := s.drafts[number]
	delete(s.drafts, number)
	s.mu.Unlock()
	if d == nil {
		return ErrNoKey
	}
	defer d.encoding.Free()
	return f(d.encoding.Bytes())
}

// makeDeks applies an update to the loaded manifest and authenticates the result.
func (s *server) makeDeks(r *wire.Reader, out []byte) ([]byte, error) {
	at := r.Uint64()
	u, err := readUpdate(r)
	if err != nil {
		return out, err
	}
	err = s.withVault(func(v *vault) error {
		object, deleted, err := v.ring.Apply(u, at)
		if err != nil {
			return err
		}
		out = wire.AppendString(out, object)
		out = wire.AppendUint32(out, uint32(len(deleted)))
		for i := range deleted {
			out = appendDEK(out, &deleted[i])
		}
		return nil
	})
	return out, err
}

// rotation makes the next object of a rotation; see package ring for the steps.
func (s *server) rotation(r *wire.Reader, out []byte) ([]byte, error) {
	step := RotationStep(r.Byte())
	if r.End() != nil {
		return out, ErrBadRequest
	}
	err := s.withVault(func(v *vault) error {
		var object []byte
		var err error
		switch step {
		case StepNewKEK:
			object, err = v.ring.NewKEK()
		case StepRewrap:
			object, err = v.ring.Rewrap()
		case StepRetire:
			object, err = v.ring.Retire()
		default:
			err = ErrBadRequest
		}
		out = append(out, object...)
		return err
	})
	return out, err
}
