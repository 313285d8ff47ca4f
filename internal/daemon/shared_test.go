package daemon

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"vigil/internal/control"
)

// TestTwoDaemonsOnOneVault that write concurrently to one vault file and one backend
// lose nothing that was reported as saved.
func TestTwoDaemonsOnOneVault(t *testing.T) {
	a := newDevice(t)
	a.init("")
	b := a.beside("b")
	b.unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var saved []string
	for name, dev := range map[string]*device{"a": a, "b": b} {
		for worker := range 2 {
			wg.Go(func() {
				for i := range 5 {
					key := fmt.Sprintf("%s%d%d", name, worker, i)
					if _, err := send(dev, &control.GenerateRequest{Name: key, Type: "ed25519"}); err != nil {
						t.Errorf("%s: %v", key, err)
						continue
					}
					mu.Lock()
					saved = append(saved, key)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for name, dev := range map[string]*device{"a": a, "b": b} {
		if r := must(dev, &control.RefreshRequest{}).Vaults[0]; r.Error != nil {
			t.Fatal(r.Error)
		}
		if got := sorted(dev.names()); !slices.Equal(got, sorted(saved)) {
			t.Fatalf("%s lists %v, saved were %v", name, got, saved)
		}
		keys := dev.listed()
		if len(keys) != len(saved) {
			t.Fatalf("%s: the agent lists %d keys of %d", name, len(keys), len(saved))
		}
		for _, k := range keys {
			if err := sign(dev.agent(), k); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	// A third device, with no state.
	c := a.beside("c")
	c.unlock()
	if got := sorted(c.names()); !slices.Equal(got, sorted(saved)) {
		t.Fatalf("a new device lists %v, saved were %v", got, saved)
	}
}

// TestEditsOfOneKeyOnTwoDevices: one of them wins or both are kept; an edit reported
// as saved is never lost silently.
func TestEditsOfOneKeyOnTwoDevices(t *testing.T) {
	a := newDevice(t)
	a.init("")
	key := a.generate("work")
	b := a.beside("b")
	b.unlock()
	comments := map[string]*device{"from a": a, "from b": b}
	var wg sync.WaitGroup
	var mu sync.Mutex
	saved := map[string]bool{}
	for comment, dev := range comments {
		wg.Go(func() {
			_, err := send(dev, &control.EditRequest{Key: "work", Comment: &comment})
			var e *control.Error
			if err != nil && (!errors.As(err, &e) || e.Next == "") {
				t.Errorf("%s: %v", comment, err)
			}
			mu.Lock()
			saved[comment] = err == nil
			mu.Unlock()
		})
	}
	wg.Wait()
	for name, dev := range map[string]*device{"a": a, "b": b} {
		if r := must(dev, &control.RefreshRequest{}).Vaults[0]; r.Error != nil {
			t.Fatal(r.Error)
		}
		var heads []string
		for _, k := range must(dev, &control.ListRequest{}).Keys {
			if k.ID == key.ID {
				heads = append(heads, k.Comment)
			}
		}
		for comment, was := range saved {
			// An edit that saw the other replaces it.
			if was && !slices.Contains(heads, comment) && len(heads) != 1 {
				t.Fatalf("%s: the edit %q is lost: %v", name, comment, heads)
			}
		}
		if len(heads) == 0 {
			t.Fatalf("%s: the key is gone", name)
		}
		for _, k := range dev.listed() {
			if err := sign(dev.agent(), k); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// TestRemovedOnOneDeviceIsGoneOnBoth, even if the other edits it.
func TestRemovedOnOneDeviceIsGoneOnBoth(t *testing.T) {
	a := newDevice(t)
	a.init("")
	a.generate("work")
	b := a.beside("b")
	b.unlock()
	must(a, &control.RemoveRequest{Key: "work", Passphrase: text(t, passphrase)})
	comment := "later"
	if _, err := send(b, &control.EditRequest{Key: "work", Comment: &comment}); err == nil {
		t.Fatal("edited a key that was removed elsewhere")
	}
	must(b, &control.RefreshRequest{})
	if names := b.names(); len(names) != 0 {
		t.Fatalf("left on the other device: %v", names)
	}
	if len(b.listed()) != 0 {
		t.Fatal("the agent lists it")
	}
}

// TestAnEditElsewhereHidesNoKey: an edit's line replaces the previous one, and may
// arrive before the keyring with its key. The other device still lists every key.
func TestAnEditElsewhereHidesNoKey(t *testing.T) {
	a := newDevice(t)
	a.init("")
	a.generate("work")
	b := a.beside("b")
	b.unlock()
	lister := b.agent()
	for n := range 5 {
		comment := fmt.Sprintf("edit %d", n)
		must(a, &control.EditRequest{Key: "work", Comment: &comment})
		until(t, comment+" is listed", func() bool {
			keys, err := lister.List()
			if err != nil || len(keys) != 1 {
				t.Fatalf("meanwhile %d keys are listed, %v", len(keys), err)
			}
			return keys[0].Comment == comment
		})
	}
}
