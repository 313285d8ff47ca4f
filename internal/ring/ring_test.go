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
	"vigil/internal/ring/ringtest"
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
	if err := r.Load(o.Members, o.Deks, ring.Pins{}, ring.Waiting{}); err != nil {
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
	if _, err := r.Seal(&line, []byte("meta"), []byte("secret")); !errors.Is(err, ring.ErrEmpty) {
		t.Fatalf("sealed without a keyring: %v", err)
	}
	load(t, r, w)
	used := slab.Usage().Used
	dek, err := r.Seal(&line, []byte("meta"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if line.Epoch != w.Deks.Epoch() {
		t.Fatalf("epoch %d, want the loaded manifest's %d", line.Epoch, w.Deks.Epoch())
	}
	meta, err := r.OpenMeta(&line, &dek)
	if err != nil || string(meta) != "meta" {
		t.Fatalf("%q, %v", meta, err)
	}
	if got := slab.Usage().Used; got != used {
		t.Fatalf("%d bytes of guarded memory in use after sealing and opening, %d before", got, used)
	}
}

// TestRotation goes through its three writes; after each of them a device that
// knows only the one before goes on.
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
			if err := r.Load(o.Members, o.Deks, ring.Pins{}, ring.Waiting{}); err != nil {
				t.Fatalf("%s: %s: %v", stage, name, err)
			}
			dek, _ := r.Deks().Lookup(written.DEK.Revision)
			if err := r.WithSecret(&written.Line, &dek, func([]byte) error { return nil }); err != nil {
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

func TestExpelledIdentityLosesTheNextKEK(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	owner, _ := newRing(t, w, w.Owner)
	other, slab := newRing(t, w, member)
	load(t, owner, w)
	load(t, other, w)
	members, err := owner.Expel(member.Identity.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Load(members, w.Objects().Deks, ring.Pins{}, ring.Waiting{}); !errors.Is(err, ring.ErrNotAMember) {
		t.Fatalf("expelled member: %v", err)
	}
	if err := owner.Load(members, w.Objects().Deks, ring.Pins{}, ring.Waiting{}); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if used := slab.Usage().Used; used != 0 {
		t.Fatalf("%d bytes of guarded memory in use after Close", used)
	}
}

// TestDEKWaitingThroughARotation is what a device does that was offline: its
// DEK, wrapped by the old KEK, is wrapped by the new one when it is pushed.
func TestDEKWaitingThroughARotation(t *testing.T) {
	w := ringtest.New(t)
	r, _ := newRing(t, w, w.Owner)
	load(t, r, w)
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
	waiting, err := r.Seal(&line, []byte("meta"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	members, err := r.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(members, w.Objects().Deks, ring.Pins{}, ring.Waiting{}); err != nil {
		t.Fatal(err)
	}
	deks, err := r.Rewrap()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(members, deks, ring.Pins{}, ring.Waiting{}); err != nil {
		t.Fatal(err)
	}
	pushed, deleted, err := r.Apply(keyring.Update{Add: []keyring.DEK{waiting}}, ringtest.Now)
	if err != nil || len(deleted) > 0 {
		t.Fatalf("push: %v, %d deleted", err, len(deleted))
	}
	if err := r.Load(members, pushed, ring.Pins{}, ring.Waiting{}); err != nil {
		t.Fatal(err)
	}
	dek, ok := r.Deks().Lookup(line.Revision)
	if !ok || dek.KEK != 2 {
		t.Fatalf("pushed DEK is %+v", dek.KEK)
	}
	if meta, err := r.OpenMeta(&line, &dek); err != nil || string(meta) != "meta" {
		t.Fatalf("%q, %v", meta, err)
	}
}

// TestSealsOfWaitingChanges: a DEK that waits was wrapped by a KEK that is
// retired now, so its seal is kept with it. Whoever can write to this device's
// state can put another there, as everybody can seal to an identity; it counts
// only if a signed record names it.
func TestSealsOfWaitingChanges(t *testing.T) {
	w := ringtest.New(t)
	genuine, _ := w.Members.Seal(1, w.Owner.Identity.ID)
	waiting := w.Seal(id.NewItem(), "mine", []byte("public"), []byte("private"))
	rotate(t, w)

	attacker := *w
	attacker.KEKs = map[uint64][]byte{1: ringtest.Random32(), 2: ringtest.Random32(), 7: ringtest.Random32()}
	forged := attacker.Owner.Seal(t, attacker.KEKs[1], w.Vault(), 1)
	invented := attacker.Owner.Seal(t, attacker.KEKs[7], w.Vault(), 7)
	damaged := genuine
	damaged.Sealed[1000] ^= 1
	theirs := attacker.SealUnder(1, id.NewItem(), "theirs", []byte("public"), []byte("private"))
	as7 := attacker.SealUnder(7, id.NewItem(), "theirs", []byte("public"), []byte("private"))

	for name, tt := range map[string]struct {
		seals []keyring.Seal
		add   ringtest.Written
		want  error
	}{
		"genuine":                       {[]keyring.Seal{genuine}, waiting, nil},
		"missing":                       {nil, waiting, ring.ErrNoKEK},
		"damaged":                       {[]keyring.Seal{damaged}, waiting, ring.ErrNoKEK},
		"own KEK as a retired one":      {[]keyring.Seal{forged}, theirs, ring.ErrNoKEK},
		"own KEK before the real one":   {[]keyring.Seal{forged, genuine}, waiting, nil},
		"own KEK as one nobody made":    {[]keyring.Seal{invented}, as7, ring.ErrNoKEK},
		"own KEK as the one in use":     {[]keyring.Seal{attacker.Owner.Seal(t, attacker.KEKs[2], w.Vault(), 2)}, attacker.SealUnder(2, id.NewItem(), "theirs", []byte("public"), nil), envelope.ErrWrongKey},
		"own DEK under the genuine one": {[]keyring.Seal{genuine}, theirs, envelope.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRing(t, w, w.Owner)
			o := w.Objects()
			err := r.Load(o.Members, o.Deks, ring.Pins{}, ring.Waiting{Update: keyring.Update{Add: []keyring.DEK{tt.add.DEK}}, Seals: tt.seals})
			if err != nil {
				t.Fatalf("the rest must load all the same: %v", err)
			}
			dek, ok := r.Manifest().Lookup(tt.add.DEK.Revision)
			if !ok {
				t.Fatal("the change that waits isn't in the manifest")
			}
			if _, err := r.OpenMeta(&tt.add.Line, &dek); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// rotate goes through all three steps of a rotation.
func rotate(t *testing.T, w *ringtest.World) {
	t.Helper()
	w.MakeKEK()
	next, err := w.Deks.Rewrap(w.Members, func(e keyring.DEK) ([keyring.WrappedDEKSize]byte, error) {
		dek := make([]byte, envelope.KeySize)
		if err := envelope.UnwrapDEK(dek, w.KEKs[e.KEK], w.Vault(), e); err != nil {
			return e.Wrapped, err
		}
		return envelope.WrapDEK(w.KEKs[w.Members.KEK()], dek, w.Vault(), e.Item, e.Revision, w.Members.KEK())
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Deks = w.Store(next)
	w.Append(keyring.RetireKEK{Version: w.Members.KEK() - 1})
}

// TestARefusedKeyringLeavesNoKEK: what a keyring brought that was refused must
// not stand in the way of the good one.
func TestARefusedKeyringLeavesNoKEK(t *testing.T) {
	w := ringtest.New(t)
	r, slab := newRing(t, w, w.Owner)
	load(t, r, w)
	used := slab.Usage().Used
	refused := *w
	refused.KEKs = map[uint64][]byte{1: w.KEKs[1]}
	refused.MakeKEK()
	damaged := ringtest.Remac(t, w.Vault(), 1, ringtest.Random32(), w.Objects().Deks)
	if err := r.Load(refused.Members.Encode(), damaged, ring.Pins{}, ring.Waiting{}); err == nil {
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
	if _, err := r.Expel(w.Owner.Identity.ID); keyring.StageOf(err) != keyring.StageAuthorisation {
		t.Fatalf("a member expelled the owner: %v", err)
	}
	if _, err := r.SetUnlock(member.Block()); err != nil {
		t.Fatalf("a member may change what concerns its own master key: %v", err)
	}
}
