package keeper

import (
	"bytes"
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
// item is reported and doesn't stop the others.
func (v *vault) loadItems(parsed *vaultfile.File, out []byte) []byte {
	manifest := v.ring.Manifest()
	out = appendPins(out, v.ring.Pins())
	out = wire.AppendUint64(out, v.ring.Deks().KEK())
	// Every line that has a DEK is opened first: only one that is genuine may
	// take the place of the revisions it replaces.
	tried := v.tryAll(parsed, manifest)
	states := parsed.States(manifest, func(line *vaultfile.Revision) bool {
		it := tried[line.Revision]
		return it != nil && it.problem == "" && it.same(*line)
	})
	var use []*item
	waiting := uint32(0)
	kept := make(map[id.Revision]*item, len(tried))
	for i, line := range parsed.Revisions() {
		if it := tried[line.Revision]; it != nil && !it.same(line) {
			continue // somebody's line beside the genuine one
		}
		switch states[i] {
		case vaultfile.Ready:
			kept[line.Revision] = tried[line.Revision]
			use = append(use, tried[line.Revision])
		case vaultfile.WaitingForKey:
			waiting++
		case vaultfile.Unusable:
			use = append(use, tried[line.Revision])
		}
	}
	out = wire.AppendUint32(out, waiting)
	out = wire.AppendUint32(out, uint32(len(use)))
	for _, it := range use {
		out = v.offer(it, out)
	}
	v.keep(kept)
	return out
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

// tryAll tries every line that has a DEK, on all cores: at an unlock they are
// all new. Of each revision it returns one line.
func (v *vault) tryAll(parsed *vaultfile.File, manifest *keyring.Pending) map[id.Revision]*item {
	lines := parsed.Revisions()
	items := make([]*item, len(lines))
	var workers sync.WaitGroup
	share := max(minShare, (len(lines)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for start := 0; start < len(lines); start += share {
		end := min(start+share, len(lines))
		workers.Go(func() {
			for i := start; i < end; i++ {
				if dek, ok := manifest.Lookup(lines[i].Revision); ok && dek.Item == lines[i].Item {
					items[i] = v.tryItem(lines[i], dek)
				}
			}
		})
	}
	workers.Wait()
	tried := make(map[id.Revision]*item, len(lines))
	for i, it := range items {
		if it != nil {
			tried[lines[i].Revision] = v.genuine(tried[lines[i].Revision], it)
		}
	}
	return tried
}

// genuine picks of two lines of one revision the one that opens, to the private
// key: anybody can put another one beside it. a may be nil.
func (v *vault) genuine(a, b *item) *item {
	switch {
	case a == nil || a.problem != "":
		return b
	case b.problem != "" || v.verifyRevision(&a.line, &a.dek) == nil:
		return a
	}
	return b
}

// minShare is the least number of lines that are worth a goroutine.
const minShare = 256

// tryItem opens the metadata of a revision, unless it's known already.
func (v *vault) tryItem(line vaultfile.Revision, dek keyring.DEK) *item {
	if old := v.items[line.Revision]; old != nil && old.same(line) {
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

// offer gives an item that is new its number, and reports it to the front.
func (v *vault) offer(it *item, out []byte) []byte {
	if it.number == 0 && it.problem == "" {
		it.number = v.server.keys.add(&entry{open: func() (*signer.Key, error) { return v.openKey(it) }})
	}
	out = appendItem(out, it)
	it.meta = nil // the front has it from now on
	return out
}

// same tells whether a line is the one that was verified before.
func (it *item) same(l vaultfile.Revision) bool {
	return it.line.Item == l.Item && slices.Equal(it.line.Parents, l.Parents) && it.line.Epoch == l.Epoch &&
		bytes.Equal(it.line.Meta, l.Meta) && bytes.Equal(it.line.Secret, l.Secret)
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
	err := s.withVault(func(v *vault) (err error) {
		sealIt := func(secret []byte) error {
			dek, err = v.ring.Seal(&line, meta, secret)
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
