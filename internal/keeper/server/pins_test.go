package server

import (
	"errors"
	"maps"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
)

// TestPins: what a device has seen binds a new keeper.
func TestPins(t *testing.T) {
	w := newStored(t)
	good := w.Objects()
	other := *w.World
	other.Update(keyring.Update{}) // a fork of epoch n+1 …
	w.Update(keyring.Update{Add: []keyring.DEK{w.Seal(id.NewItem(), "later", []byte("public"), nil).DEK}})
	later := w.Objects() // … and what this device saw as n+1
	pins := w.Pins()
	onlyMembers, onlyDeks := pins, pins
	onlyMembers.Deks, onlyDeks.Members = keyring.DeksPin{}, keyring.MembersPin{}
	for _, tt := range []struct {
		name string
		pins keyring.Pins
		o    ringtest.Objects
		want error
	}{
		{"a new device", keyring.Pins{}, good, nil},
		{"the same", pins, later, nil},
		{"older deks", pins, good, keeper.ErrRollback},
		{"older deks, members unknown", onlyDeks, good, keeper.ErrRollback},
		{"forked deks", pins, other.Objects(), keeper.ErrRollback},
		{"older members", onlyMembers, w.before, keeper.ErrRollback},
		{"before the rotation", pins, w.before, keeper.ErrRollback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadObjects(t, unlocked(t, w.world, w.Owner), tt.pins, tt.o)
			wantErr(t, err, tt.want)
		})
	}
	t.Run("a keeper that has seen it itself", func(t *testing.T) {
		c := unlocked(t, w.world, w.Owner)
		if _, err := loadObjects(t, c, keyring.Pins{}, later); err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string]ringtest.Objects{"older": good, "forked": other.Objects(), "before": w.before} {
			if _, err := loadObjects(t, c, keyring.Pins{}, o); !errors.Is(err, keeper.ErrRollback) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

// TestRemovedWhileUnlocked: the keeper sees in the keyring that its identity was removed.
func TestRemovedWhileUnlocked(t *testing.T) {
	w := newStored(t)
	c := unlocked(t, w.world, w.member)
	if _, err := loadObjects(t, c, w.Pins(), w.Objects()); err != nil {
		t.Fatal(err)
	}
	w.KEKs = maps.Clone(w.KEKs)
	w.Append(keyring.RemoveIdentity{ID: w.member.Identity.ID})
	w.MakeKEK()
	_, err := loadObjects(t, c, keyring.Pins{}, w.Objects())
	wantErr(t, err, keeper.ErrNoIdentity)
}
