package ring_test

import (
	"slices"
	"strings"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// ring returns a device's ring, with nothing loaded.
func (w *walker) ring(p *ringtest.Person) *ring.Ring {
	seeds, err := w.slab.Alloc(len(p.Seeds))
	if err != nil {
		w.t.Fatal(err)
	}
	copy(seeds.Bytes(), p.Seeds)
	r, err := ring.New(w.vault, p.Identity.ID, seeds, w.slab.Alloc)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// read parses a stored keyring, once.
func (h *histories) read(o stored) (*keyring.Members, *keyring.Deks) {
	return parsed(h, o.members, keyring.ParseMembers), parsed(h, o.deks, keyring.ParseDeks)
}

func parsed[T any](h *histories, data []byte, parse func([]byte, id.Vault) (T, error)) T {
	h.mu.Lock()
	have, ok := h.parsed[string(data)]
	h.mu.Unlock()
	if ok {
		return have.(T)
	}
	fresh, err := parse(data, h.vault)
	if err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	h.parsed[string(data)] = fresh
	h.mu.Unlock()
	return fresh
}

// known returns what a device remembers.
func (w *walker) known(d *device) keyring.Known {
	members, deks := w.read(d.has)
	return keyring.Known{Pins: keyring.Pins{Members: members.Pin(), Deks: deks.Pin()}, Last: d.has.deks}
}

// open has a device load what it is shown and, if it accepts that, continue.
func (w *walker) open(s *state, i int, use func(*ring.Ring)) bool {
	d := &s.devices[i]
	r := w.ring(d.person)
	defer r.Close()
	err := r.Load(s.shows[i].members, s.shows[i].deks, w.known(d), keyring.Update{Add: d.waiting})
	if d.refused = err != nil; d.refused {
		if keyring.StageOf(err) == "" && !strings.Contains(err.Error(), "KEK") {
			w.t.Errorf("%s: %v", s.history, err)
		}
		return true
	}
	d.has = s.shows[i]
	use(r)
	return true
}

// put has a device make an object from what it is shown, and store it.
func (w *walker) put(s *state, i int, object string, make func(*ring.Ring) ([]byte, error)) bool {
	did := false
	w.open(s, i, func(r *ring.Ring) {
		data, err := make(r)
		if err != nil || data == nil {
			return
		}
		did = true
		w.store(s, i, object, data)
	})
	return did
}

// store has the backend accept an object, and its writer load it.
func (w *walker) store(s *state, i int, object string, data []byte) {
	o := s.shows[i]
	if object == "members" {
		o.members = data
	} else {
		o.deks = data
	}
	s.shows[i] = o
	if !s.split {
		s.shows[1-i] = o
	}
	r := w.ring(s.devices[i].person)
	defer r.Close()
	if err := r.Load(o.members, o.deks, w.known(&s.devices[i]), keyring.Update{}); err != nil {
		w.t.Errorf("%s: device %c refuses what it wrote: %v", s.history, 'A'+i, err)
		return
	}
	s.devices[i].has = o
	if object == "deks" {
		w.secret(s, r)
	}
}

// secret checks that the removed identity can't open anything written by a device
// that knew of the removal.
func (w *walker) secret(s *state, r *ring.Ring) {
	if !r.Members().Removed(w.third.Identity.ID) {
		return
	}
	before, _ := w.read(s.before)
	for _, version := range before.KEKs() {
		seal, _ := before.Seal(version, w.third.Identity.ID)
		kek := make([]byte, envelope.KeySize)
		if err := w.third.Halves.OpenKEK(kek, seal, w.vault); err != nil {
			continue
		}
		for _, e := range r.Deks().All() {
			if envelope.UnwrapDEK(make([]byte, envelope.KeySize), &e, kek, w.vault, r.Deks().KEK()) == nil {
				w.t.Errorf("%s: the removed identity's KEK opens a DEK that was written afterwards", s.history)
			}
		}
	}
}

// write changes the manifest, and pushes pending changes.
func (w *walker) write(s *state, i int, change func(r *ring.Ring) (keyring.Update, func())) bool {
	var done func()
	waiting := s.devices[i].waiting
	did := w.put(s, i, "deks", func(r *ring.Ring) ([]byte, error) {
		var u keyring.Update
		if u, done = change(r); done == nil {
			return nil, nil
		}
		u.Add = append(u.Add, waiting...)
		data, _, err := r.Apply(u, ringtest.Now)
		return data, err
	})
	if did {
		d := &s.devices[i]
		for _, e := range d.waiting {
			if !slices.Contains(d.removed, e.Item) {
				d.saved = append(d.saved, e.Item)
			}
		}
		d.waiting = nil
		done()
	}
	return did
}

// newItem adds an item. Its id encodes who added it, and how many were added before.
func (w *walker) newItem(s *state, i int) func(*ring.Ring) (keyring.Update, func()) {
	return func(r *ring.Ring) (keyring.Update, func()) {
		d := &s.devices[i]
		item := id.Item{0: byte('A' + i), 1: byte(len(d.saved) + len(d.removed))}
		e := w.seal(r, &vaultfile.Revision{Item: item, Revision: id.NewRevision()}, false)
		return keyring.Update{Add: []keyring.DEK{e}}, func() { d.saved = append(d.saved, item) }
	}
}

func (w *walker) seal(r *ring.Ring, line *vaultfile.Revision, tightens bool) keyring.DEK {
	e, err := r.Seal(line, []byte("meta"), []byte("secret"), tightens)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// tighten edits the first item.
func (w *walker) tighten(r *ring.Ring) (keyring.Update, func()) {
	if r.Deks().Lookup(w.stricter.Revision) != nil || r.Deks().Deleted(w.stricter.Item) {
		return keyring.Update{}, nil
	}
	line := w.stricter
	e := w.seal(r, &line, true)
	return keyring.Update{Add: []keyring.DEK{e}}, func() {}
}

// remove removes the item that the device saved last.
func (w *walker) remove(s *state, i int) func(*ring.Ring) (keyring.Update, func()) {
	return func(*ring.Ring) (keyring.Update, func()) {
		d := &s.devices[i]
		if len(d.saved) == 0 {
			return keyring.Update{}, nil
		}
		item := d.saved[len(d.saved)-1]
		return keyring.Update{Remove: []id.Item{item}}, func() {
			d.saved = slices.DeleteFunc(d.saved, func(x id.Item) bool { return x == item })
			d.removed = append(d.removed, item)
		}
	}
}

// addOffline saves an item on the device, to be stored with its next write.
func (w *walker) addOffline(s *state, i int) bool {
	d := &s.devices[i]
	if len(d.waiting) > 0 {
		return false
	}
	r := w.ring(d.person)
	defer r.Close()
	if err := r.Load(d.has.members, d.has.deks, w.known(d), keyring.Update{}); err != nil {
		w.t.Errorf("%s: device %c refuses what it has accepted: %v", s.history, 'A'+i, err)
		return false
	}
	d.waiting = []keyring.DEK{w.seal(r, &vaultfile.Revision{Item: id.Item{0: byte('a' + i)}, Revision: id.NewRevision()}, false)}
	return true
}

// rekey changes a device's passphrase; while a change waits it can't.
func (w *walker) rekey(s *state, i int) bool {
	if len(s.devices[i].waiting) > 0 {
		return false
	}
	var next *ringtest.Person
	did := false
	w.open(s, i, func(r *ring.Ring) {
		next = s.devices[i].person.Rekeyed(w.t)
		members, err := r.Rekey(next.Halves, next.Block())
		if err != nil {
			return
		}
		did = true
		s.devices[i].person = next
		w.store(s, i, "members", members)
	})
	return did
}

// removeThird removes the third identity, which keeps what it saw last.
func (w *walker) removeThird(s *state) bool {
	before := s.shows[0]
	did := w.put(s, 0, "members", func(r *ring.Ring) ([]byte, error) {
		if _, there := r.Members().Identity(w.third.Identity.ID); !there {
			return nil, nil
		}
		return r.RemoveIdentities(w.third.Identity.ID)
	})
	if did {
		s.before = before
	}
	return did
}

// forge has the removed identity write, with all the keys it knows, on top of what a
// device is shown or of what it saw last itself.
func (w *walker) forge(s *state, i int) bool {
	if s.before.members == nil || s.forged {
		return false
	}
	members, last := w.read(s.before)
	seal, _ := members.Seal(members.KEK(), w.third.Identity.ID)
	kek := make([]byte, envelope.KeySize)
	if w.third.Halves.OpenKEK(kek, seal, w.vault) != nil {
		return false
	}
	_, top := w.read(s.shows[i])
	if top.KEK() != members.KEK() {
		top = last
	}
	if top.KEK() != members.KEK() {
		return false
	}
	e := keyring.DEK{Item: w.evil, Revision: id.Revision{0: 0xee}}
	if err := envelope.WrapDEK(&e, kek, make([]byte, envelope.KeySize), w.vault, members.KEK()); err != nil {
		w.t.Fatal(err)
	}
	next, _, err := top.Apply(keyring.Update{Add: []keyring.DEK{e}}, members, ringtest.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	deks, err := next.Encode(w.third.Halves, func(version uint64, hash id.Hash) ([keyring.MACSize]byte, error) {
		return envelope.DeksMAC(kek, w.vault, version, hash)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.forged = true
	return s.show(i, stored{s.shows[i].members, deks})
}
