package ring_test

import (
	"errors"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// TestRekey changes the keys of an owner and of a member, and finishes the
// rotation that belongs to it.
func TestRekey(t *testing.T) {
	for _, role := range []keyring.Role{keyring.Owner, keyring.Member} {
		t.Run(string(role), func(t *testing.T) {
			w := ringtest.New(t)
			p := ringtest.NewPerson(t, role)
			w.Admit(p)
			written := w.Add(id.NewItem(), "work", []byte("public"), []byte("private"))
			old, _ := newRing(t, w, p)
			load(t, old, w)

			fresh := p.Rekeyed(t)
			members, err := old.Rekey(fresh.Halves, fresh.Block())
			if err != nil {
				t.Fatal(err)
			}
			o := w.Objects()
			if err := old.Load(members, o.Deks, keyring.Known{}, keyring.Update{}); !errors.Is(err, ring.ErrNotAMember) {
				t.Fatalf("the old keys still load: %v", err)
			}
			next, _ := newRing(t, w, fresh)
			owner, _ := newRing(t, w, w.Owner)
			turn := func() ([]byte, error) { // of an owner, where the identity is none
				if err := owner.Load(members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
					return nil, err
				}
				return owner.NewKEK()
			}
			retire := owner.Retire
			if role == keyring.Owner {
				turn = func() ([]byte, error) { return members, nil }
				retire = next.Retire
			}
			steps := []struct {
				name string
				make func() ([]byte, error)
				into *[]byte
			}{
				{"rekeyed", func() ([]byte, error) { return members, nil }, &o.Members},
				{"KEK made", turn, &o.Members},
				{"rewrapped", next.Rewrap, &o.Deks},
				{"retired", retire, &o.Members},
			}
			for _, s := range steps {
				object, err := s.make()
				if err != nil || object == nil {
					t.Fatalf("%s: nothing to write: %v", s.name, err)
				}
				*s.into = object
				if err := next.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				if role != keyring.Owner && s.name != "rekeyed" {
					if err := owner.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
						t.Fatalf("%s: owner: %v", s.name, err)
					}
				}
				dek := next.Deks().Lookup(written.DEK.Revision)
				if err := next.WithSecret(&written.Line, dek, func([]byte) error { return nil }); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
			if got := next.Members().KEKs(); len(got) != 1 || got[0] != 2 {
				t.Fatalf("live KEKs are %v", got)
			}
		})
	}
}

// TestWriteThroughARotation: a write that was sealed before a rotation and is stored
// after it is wrapped by the new KEK, and no retired KEK is kept for it.
func TestWriteThroughARotation(t *testing.T) {
	w := ringtest.New(t)
	r, slab := newRing(t, w, w.Owner)
	load(t, r, w)
	used := slab.Usage().Used
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
	added, err := r.Seal(&line, []byte("meta"), []byte("secret"), false)
	if err != nil {
		t.Fatal(err)
	}
	o := w.Objects()
	for _, step := range []struct {
		make func() ([]byte, error)
		into *[]byte
	}{
		{func() ([]byte, error) { return r.NewKEK() }, &o.Members}, {r.Rewrap, &o.Deks}, {r.Retire, &o.Members},
	} {
		object, err := step.make()
		if err != nil {
			t.Fatal(err)
		}
		*step.into = object
		if err := r.Load(o.Members, o.Deks, keyring.Known{}, keyring.Update{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := slab.Usage().Used; got != used {
		t.Errorf("%d bytes of guarded memory in use after the rotation, %d before: a retired KEK is kept", got, used)
	}
	if _, _, err := r.Apply(keyring.Update{Add: []keyring.DEK{added}}, ringtest.Now); err != nil {
		t.Errorf("store what was sealed before the rotation: %v", err)
	}
}
