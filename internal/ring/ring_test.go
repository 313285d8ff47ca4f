package ring_test

import (
	"bytes"
	"errors"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

func newRing(t *testing.T, w *ringtest.World, p *ringtest.Person) (*ring.Ring, *guard.Slab) {
	t.Helper()
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slab.Close() })
	seeds, err := slab.Alloc(len(p.Seeds))
	if err != nil {
		t.Fatal(err)
	}
	copy(seeds.Bytes(), p.Seeds)
	r, err := ring.New(w.Vault(), p.Identity.ID, seeds, slab.Alloc)
	if err != nil {
		t.Fatal(err)
	}
	return r, slab
}

func load(t *testing.T, r *ring.Ring, w *ringtest.World) {
	t.Helper()
	o := w.Objects()
	if err := r.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
		t.Fatal(err)
	}
}

func TestItemsOpenForEveryMember(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	written := w.Add(id.NewItem(), "work", []byte("public"), []byte("private"))
	for _, p := range []*ringtest.Person{w.Owner, member} {
		r, _ := newRing(t, w, p)
		load(t, r, w)
		meta, err := r.OpenMeta(&written.Line, &written.DEK)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := vaultfile.ParseMeta(meta); err != nil || m.Name != "work" {
			t.Fatalf("metadata %q, %v", meta, err)
		}
		var got []byte
		err = r.WithSecret(&written.Line, &written.DEK, func(secret []byte) error {
			got = bytes.Clone(secret)
			return nil
		})
		if err != nil || string(got) != "private" {
			t.Fatalf("private key %q, %v", got, err)
		}
	}
}

func TestSealedItemsOpenAgain(t *testing.T) {
	w := ringtest.New(t)
	r, slab := newRing(t, w, w.Owner)
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
	if _, err := r.Seal(&line, []byte("meta"), []byte("secret"), false); !errors.Is(err, ring.ErrEmpty) {
		t.Fatalf("sealed without a keyring: %v", err)
	}
	load(t, r, w)
	used := slab.Usage().Used
	dek, err := r.Seal(&line, []byte("meta"), []byte("secret"), false)
	if err != nil {
		t.Fatal(err)
	}
	if !dek.Waits || dek.Line != line.Sum() {
		t.Fatal("what was sealed doesn't wait, or names another line")
	}
	meta, err := r.OpenMeta(&line, &dek)
	if err != nil || string(meta) != "meta" {
		t.Fatalf("%q, %v", meta, err)
	}
	if got := slab.Usage().Used; got != used {
		t.Fatalf("%d bytes of guarded memory in use after sealing and opening, %d before", got, used)
	}
}

// TestRotation makes the three writes of a rotation. After each of them, a device
// that knows only the one before can continue.
func TestRotation(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	written := w.Add(id.NewItem(), "work", []byte("public"), []byte("private"))
	owner, _ := newRing(t, w, w.Owner)
	other, _ := newRing(t, w, member)
	load(t, owner, w)
	load(t, other, w)
	o := w.Objects()
	both := func(stage string) {
		t.Helper()
		for name, r := range map[string]*ring.Ring{"owner": owner, "member": other} {
			if err := r.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
				t.Fatalf("%s: %s: %v", stage, name, err)
			}
			dek := r.Deks().Lookup(written.DEK.Revision)
			if err := r.WithSecret(&written.Line, dek, func([]byte) error { return nil }); err != nil {
				t.Fatalf("%s: %s: %v", stage, name, err)
			}
		}
	}
	step := func(object []byte, err error) []byte {
		t.Helper()
		if err != nil || object == nil {
			t.Fatalf("nothing to write: %v", err)
		}
		return object
	}
	o.Members = step(owner.NewKEK())
	both("KEK 2 made")
	o.Deks = step(owner.Rewrap())
	both("rewrapped")
	o.Members = step(owner.Retire())
	both("KEK 1 retired")
	if got := owner.Members().KEKs(); len(got) != 1 || got[0] != 2 {
		t.Fatalf("live KEKs are %v", got)
	}
	for name, again := range map[string]func() ([]byte, error){"rewrap": owner.Rewrap, "retire": owner.Retire} {
		if object, err := again(); object != nil || err != nil {
			t.Fatalf("%s a second time: %d bytes, %v", name, len(object), err)
		}
	}
}

func TestRemovedIdentityLosesTheNextKEK(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	owner, _ := newRing(t, w, w.Owner)
	other, slab := newRing(t, w, member)
	load(t, owner, w)
	load(t, other, w)
	members, err := owner.RemoveIdentities(member.Identity.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Load(members, w.Objects().Deks, keyring.Known{}, keyring.Update{}); !errors.Is(err, ring.ErrNotAMember) {
		t.Fatalf("removed member: %v", err)
	}
	if err := owner.Load(members, w.Objects().Deks, keyring.Known{}, keyring.Update{}); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if used := slab.Usage().Used; used != 0 {
		t.Fatalf("%d bytes of guarded memory in use after Close", used)
	}
}

// TestRemovalLeavesNoWriteUnderTheOldKEK: the removed identity knows KEK 1. Even a
// write between the removal and its rewrap is under KEK 2.
func TestRemovalLeavesNoWriteUnderTheOldKEK(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	old := w.Add(id.NewItem(), "old", []byte("public"), []byte("private"))
	r, _ := newRing(t, w, w.Owner)
	load(t, r, w)
	o := w.Objects()
	var err error
	if o.Members, err = r.RemoveIdentities(member.Identity.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
		t.Fatal(err)
	}
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
	added, err := r.Seal(&line, []byte("meta"), []byte("secret"), false)
	if err != nil {
		t.Fatal(err)
	}
	if o.Deks, _, err = r.Apply(keyring.Update{Add: []keyring.DEK{added}}, ringtest.Now); err != nil {
		t.Fatal(err)
	}
	if err := r.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
		t.Fatal(err)
	}
	if r.Deks().KEK() != 2 {
		t.Fatalf("deks is under KEK %d", r.Deks().KEK())
	}
	for _, e := range r.Deks().All() {
		if err := envelope.UnwrapDEK(make([]byte, 32), &e, w.KEKs[1], w.Vault(), 1); !errors.Is(err, envelope.ErrWrongKey) {
			t.Errorf("the removed identity's KEK opens a DEK: %v", err)
		}
	}
	for _, want := range []*vaultfile.Revision{&line, &old.Line} {
		dek := r.Deks().Lookup(want.Revision)
		if _, err := r.OpenMeta(want, dek); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatWaitsIsThisIdentitys: pending changes are in the device state. An attacker
// who can write there can neither make nor alter one.
func TestWhatWaitsIsThisIdentitys(t *testing.T) {
	w := ringtest.New(t)
	r, _ := newRing(t, w, w.Owner)
	load(t, r, w)
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision(), Parents: []id.Revision{{1}}}
	genuine, err := r.Seal(&line, []byte("meta"), []byte("secret"), true)
	if err != nil {
		t.Fatal(err)
	}
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	other, _ := newRing(t, w, member)
	load(t, other, w)
	theirs, err := other.Seal(&vaultfile.Revision{Item: line.Item, Revision: line.Revision, Parents: line.Parents}, []byte("meta"), []byte("secret"), true)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(f func(*keyring.DEK)) keyring.DEK { e := genuine; f(&e); return e }
	for name, tt := range map[string]struct {
		e    keyring.DEK
		want error
	}{
		"genuine":           {genuine, nil},
		"another's":         {theirs, envelope.ErrWrongKey},
		"of another item":   {changed(func(e *keyring.DEK) { e.Item = id.NewItem() }), envelope.ErrWrongKey},
		"other parents":     {changed(func(e *keyring.DEK) { e.Parents = nil }), envelope.ErrWrongKey},
		"another line":      {changed(func(e *keyring.DEK) { e.Line[0] ^= 1 }), envelope.ErrWrongKey},
		"not tightened":     {changed(func(e *keyring.DEK) { e.Tightens = false }), envelope.ErrWrongKey},
		"as the manifest's": {changed(func(e *keyring.DEK) { e.Waits = false }), envelope.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := r.Apply(keyring.Update{Add: []keyring.DEK{tt.e}}, ringtest.Now); !errors.Is(err, tt.want) {
				t.Fatalf("stored with %v, want %v", err, tt.want)
			}
			if _, err := r.OpenMeta(&line, &tt.e); !errors.Is(err, tt.want) {
				t.Fatalf("opened with %v, want %v", err, tt.want)
			}
		})
	}
}

// TestANoisySeal: an owner made a KEK that another owner can't open. The earlier KEK
// stays in use, and the other owner makes the next one.
func TestANoisySeal(t *testing.T) {
	w := ringtest.New(t)
	second := ringtest.NewPerson(t, keyring.Owner)
	w.Admit(second)
	written := w.Add(id.NewItem(), "work", []byte("public"), []byte("private"))
	r, _ := newRing(t, w, second)
	load(t, r, w)
	noise := second.Seal(t, ringtest.Random32(), id.Vault{1}, 2)
	w.Append(keyring.MakeKEK{Seals: []keyring.Seal{noise, w.Owner.Seal(t, ringtest.Random32(), w.Vault(), 2)}})
	load(t, r, w)
	if r.Opens(2) || !r.Opens(1) {
		t.Fatalf("opens KEK 1: %v, KEK 2: %v", r.Opens(1), r.Opens(2))
	}
	dek := r.Deks().Lookup(written.DEK.Revision)
	if _, err := r.OpenMeta(&written.Line, dek); err != nil {
		t.Fatal(err)
	}
	members, err := r.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(members, w.Objects().Deks, keyring.Known{}, keyring.Update{}); err != nil {
		t.Fatal(err)
	}
	if object, err := r.Rewrap(); err != nil || object == nil {
		t.Fatalf("under KEK 3: %v", err)
	}
}

// TestReadersWriteNothing: every device would refuse a reader's writes.
func TestReadersWriteNothing(t *testing.T) {
	w := ringtest.New(t)
	reader := ringtest.NewPerson(t, keyring.Reader)
	w.Admit(reader)
	r, _ := newRing(t, w, reader)
	load(t, r, w)
	_, err := r.Seal(&vaultfile.Revision{}, []byte("meta"), []byte("secret"), false)
	_, _, applied := r.Apply(keyring.Update{Remove: []id.Item{{1}}}, ringtest.Now)
	for what, err := range map[string]error{"seal": err, "apply": applied} {
		if !errors.Is(err, ring.ErrReader) {
			t.Errorf("%s: %v, want ErrReader", what, err)
		}
	}
}

// TestALaterForkIsRefused compares with the manifest that the device accepted last,
// and with the one that the ring loaded before.
func TestALaterForkIsRefused(t *testing.T) {
	w := ringtest.New(t)
	item := id.NewItem()
	w.Add(item, "work", []byte("public"), []byte("private"))
	fork := *w
	w.Update(keyring.Update{Remove: []id.Item{item}})
	for range 3 {
		fork.Update(keyring.Update{})
	}
	last, later := w.Objects(), fork.Objects()
	r, _ := newRing(t, w, w.Owner)
	known := keyring.Known{Pins: w.Pins(), Last: last.Deks}
	if err := r.Load(later.Members, later.Deks, known, keyring.Update{}); keyring.StageOf(err) != keyring.StageFork {
		t.Fatalf("a device that has kept its last manifest: %v", err)
	}
	load(t, r, w)
	if err := r.Load(later.Members, later.Deks, keyring.Known{}, keyring.Update{}); keyring.StageOf(err) != keyring.StageFork {
		t.Fatalf("a ring that has loaded it: %v", err)
	}
	forgot, _ := newRing(t, w, w.Owner)
	if err := forgot.Load(later.Members, later.Deks, keyring.Known{Last: last.Deks}, keyring.Update{}); err != nil {
		t.Fatalf("a device that was told to forget its pins: %v", err)
	}
}

// TestARefusedKeyringLeavesNoKEK: the KEKs of a refused keyring must not get in the
// way of the good one.
func TestARefusedKeyringLeavesNoKEK(t *testing.T) {
	w := ringtest.New(t)
	r, slab := newRing(t, w, w.Owner)
	load(t, r, w)
	used := slab.Usage().Used
	refused := *w
	refused.KEKs = map[uint64][]byte{1: w.KEKs[1]}
	refused.MakeKEK()
	damaged := ringtest.Resign(t, w.Vault(), 1, ringtest.Random32(), w.Owner.Halves, w.Objects().Deks)
	if err := r.Load(refused.Members.Encode(), damaged, keyring.Known{}, keyring.Update{}); err == nil {
		t.Fatal("accepted a manifest with a wrong MAC")
	}
	if got := slab.Usage().Used; got != used {
		t.Fatalf("%d bytes of guarded memory in use, %d before", got, used)
	}
	w.MakeKEK()
	next, err := w.Deks.Rewrap(w.Members, func(e keyring.DEK) ([keyring.WrappedDEKSize]byte, error) { return e.Wrapped, nil })
	if err != nil {
		t.Fatal(err)
	}
	w.Deks = w.Store(next)
	load(t, r, w)
}

func TestChangesThatAMemberMayNotMake(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	r, _ := newRing(t, w, member)
	load(t, r, w)
	stranger := ringtest.NewPerson(t, keyring.Owner)
	if _, err := r.Admit(stranger.Identity, stranger.Block()); keyring.StageOf(err) != keyring.StageAuthorisation {
		t.Fatalf("a member admitted an owner: %v", err)
	}
	if _, err := r.RemoveIdentities(w.Owner.Identity.ID); keyring.StageOf(err) != keyring.StageAuthorisation {
		t.Fatalf("a member removed the owner: %v", err)
	}
	if _, err := r.SetUnlock(member.Block()); err != nil {
		t.Fatalf("a member may change what concerns its own master key: %v", err)
	}
}
