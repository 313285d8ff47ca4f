package keeper

import (
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// loadItems makes the revisions of the vault file usable that have a DEK, and
// forgets those that have none any more. It appends a Loaded to out. A damaged
// item is reported and doesn't stop the others.
func (v *vault) loadItems(file, out []byte) ([]byte, error) {
	parsed, err := vaultfile.Parse(file, v.id)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	out = appendPins(out, Pins{Members: v.members.Pin(), Deks: v.deks.Pin()})
	out = wire.AppendUint64(out, v.deks.KEK())
	// Every line that has a DEK is opened first: only one that is genuine may
	// take the place of the revisions it replaces.
	tried := make(map[id.Revision]*item, len(v.items))
	for _, line := range parsed.Revisions() {
		if dek, ok := v.deks.Lookup(line.Revision); ok && dek.Item == line.Item {
			tried[line.Revision] = v.tryItem(line, dek)
		}
	}
	states := parsed.States(v.deks, func(line *vaultfile.Revision) bool {
		it := tried[line.Revision]
		return it != nil && it.problem == ""
	})
	var use []*item
	kept := make(map[id.Revision]*item, len(tried))
	for i, line := range parsed.Revisions() {
		switch states[i] {
		case vaultfile.Ready:
			kept[line.Revision] = tried[line.Revision]
			use = append(use, tried[line.Revision])
		case vaultfile.Unusable:
			use = append(use, tried[line.Revision])
		}
	}
	out = wire.AppendUint32(out, uint32(len(use)))
	for _, it := range use {
		out = v.offer(it, out)
	}
	for revision, it := range v.items {
		if kept[revision] != it {
			v.server.keys.remove(it.number)
		}
	}
	v.items = kept
	return out, nil
}

// tryItem opens the metadata of a revision, unless it's known already.
func (v *vault) tryItem(line vaultfile.Revision, dek keyring.DEK) *item {
	if old := v.items[line.Revision]; old != nil && old.same(line) {
		old.dek = dek // it may have been rewrapped
		return old
	}
	it := &item{line: line, dek: dek}
	meta, err := v.openMeta(it)
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
	return it.line.Epoch == l.Epoch && string(it.line.Meta) == string(l.Meta) && string(it.line.Secret) == string(l.Secret)
}

// openMeta returns an item's metadata: public facts, so on the heap.
func (v *vault) openMeta(it *item) (meta []byte, err error) {
	err = v.withDEK(it.dek, func(dek []byte) error {
		meta = make([]byte, envelope.OpenSize(it.line.Meta))
		n, err := envelope.OpenMeta(meta, dek, v.binding(it.line), it.line.Meta)
		if err != nil {
			return fmt.Errorf("%w: open metadata of item %v: %w", ErrDamaged, it.line.Item, err)
		}
		meta = meta[:n]
		return nil
	})
	return meta, err
}

// Where the private key of a new revision comes from.
const (
	fromDraft    byte = iota + 1 // a number of drafts: an imported or generated key
	fromRevision                 // the revision it replaces, whose metadata is edited
)

// seal makes a new revision under a new DEK: its line for the vault file, and
// its entry for deks.
func (s *server) seal(r *wire.Reader, out []byte) ([]byte, error) {
	v, err := s.current()
	if err != nil {
		return out, err
	}
	from, number, source := r.Byte(), r.Uint64(), r.Bytes(len(id.Revision{}))
	line := vaultfile.Revision{Revision: id.NewRevision()}
	copy(line.Item[:], r.Bytes(len(line.Item)))
	line.Parents = readRevisions(r)
	meta := r.String()
	if r.End() != nil {
		return out, ErrBadRequest
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	defer s.sweeper.Touch()
	if v.deks == nil {
		return out, fmt.Errorf("%w: no keyring was loaded", ErrRefused)
	}
	line.Epoch = v.deks.Epoch()
	var dek keyring.DEK
	sealIt := func(secret []byte) error {
		dek, err = v.sealRevision(&line, meta, secret)
		return err
	}
	if from == fromDraft {
		err = s.withDraft(number, sealIt)
	} else if it := v.items[id.Revision(source)]; it != nil {
		err = v.withSecret(it, sealIt)
	} else {
		err = ErrNoKey
	}
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

func (v *vault) sealRevision(line *vaultfile.Revision, meta, secret []byte) (e keyring.DEK, err error) {
	e = keyring.DEK{Item: line.Item, Revision: line.Revision, Parents: line.Parents, KEK: v.deks.KEK()}
	kek, err := v.kek(e.KEK)
	if err != nil {
		return e, err
	}
	dek, err := v.server.alloc(envelope.KeySize)
	if err != nil {
		return e, err
	}
	defer dek.Free()
	if err := envelope.NewKey(dek.Bytes()); err != nil {
		return e, err
	}
	b := v.binding(*line)
	if line.Meta, err = envelope.SealMeta(dek.Bytes(), b, meta); err != nil {
		return e, err
	}
	if line.Secret, err = envelope.SealSecret(dek.Bytes(), b, secret); err != nil {
		return e, err
	}
	e.Wrapped, err = envelope.WrapDEK(kek, dek.Bytes(), v.id, e.Item, e.Revision, e.KEK)
	return e, err
}

// makeDeks applies an update to the loaded manifest and authenticates the result.
func (s *server) makeDeks(r *wire.Reader, out []byte) ([]byte, error) {
	v, err := s.current()
	if err != nil {
		return out, err
	}
	at := r.Uint64()
	u, err := readUpdate(r)
	if err != nil {
		return out, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	defer s.sweeper.Touch()
	if v.deks == nil {
		return out, fmt.Errorf("%w: no keyring was loaded", ErrRefused)
	}
	if err := v.rewrapStale(u.Add); err != nil {
		return out, err
	}
	next, deleted, err := v.deks.Apply(u, v.members, at)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	object, err := next.Encode(v.mac)
	if err != nil {
		return out, err
	}
	out = wire.AppendString(out, object)
	out = wire.AppendUint32(out, uint32(len(deleted)))
	for i := range deleted {
		out = appendDEK(out, &deleted[i])
	}
	return out, nil
}

// rewrapStale wraps additions anew that were sealed before a rotation.
func (v *vault) rewrapStale(adds []keyring.DEK) error {
	for i := range adds {
		e := &adds[i]
		version := v.deks.KEK()
		if e.KEK == version {
			continue
		}
		kek, err := v.kek(version)
		if err != nil {
			return err
		}
		err = v.withDEK(*e, func(dek []byte) (err error) {
			e.Wrapped, err = envelope.WrapDEK(kek, dek, v.id, e.Item, e.Revision, version)
			return err
		})
		if err != nil {
			return err
		}
		e.KEK = version
	}
	return nil
}
