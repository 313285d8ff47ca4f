package vault

import (
	"strings"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/config"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
)

// taken returns the snapshot of a world's vault as loaded by a keeper.
func taken(t *testing.T, w *ringtest.World, items ...keeper.Item) *snapshot {
	t.Helper()
	o := w.Objects()
	n, _, err := new(snapshot).next(w.Vault(), &loadedParts{
		Loaded:  &keeper.Loaded{Pins: w.Pins(), OpensKEK: true, Items: items},
		keyring: backend.Keyring{Members: o.Members, Deks: o.Deks}, file: w.File.Index(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnUnfinishedRotationIsTold: after each step that an interruption may leave,
// both those who can finish it and those who can't are told.
func TestAnUnfinishedRotationIsTold(t *testing.T) {
	w := ringtest.New(t)
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	w.Add(id.NewItem(), "work", []byte("public"), []byte("secret"))
	says := func(who *ringtest.Person, want, whoDoes string) {
		t.Helper()
		v := New(&Device{}, config.Vault{Name: "default"})
		if got := v.rotationLeft(); got != "" {
			t.Fatalf("of a locked vault it says %q", got)
		}
		v.open = &openVault{identity: who.Identity.ID}
		v.open.loaded.Store(taken(t, w))
		got := v.rotationLeft()
		if want == "" && got != "" || !strings.Contains(got, want) || !strings.Contains(got, whoDoes) {
			t.Fatalf("it says %q, want %q and %q", got, want, whoDoes)
		}
	}
	const anyone, anOwner = "vigilctl rotate --vault default finishes it", "an owner of the vault finishes it"
	says(w.Owner, "", "")
	w.MakeKEK(member)
	says(w.Owner, "KEK 2 was made, and the keys are still wrapped by KEK 1", anyone)
	says(member, "KEK 2 was made, and the keys are still wrapped by KEK 1", anyone)
	w.Rewrap()
	says(w.Owner, "wrapped by KEK 2, and 1 older isn't retired yet", anyone)
	says(member, "wrapped by KEK 2, and 1 older isn't retired yet", anOwner)
	w.Append(keyring.RetireKEK{Version: 1})
	says(w.Owner, "", "")
}
