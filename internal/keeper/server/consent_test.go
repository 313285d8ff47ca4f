package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// restricted is a vault whose only key asks at each use, since an edit.
func restricted(t *testing.T) (w *world, c *keeper.Client, item id.Item, first, confirmed id.Revision) {
	t.Helper()
	w = newWorld(t, ed25519Key(t))
	c, _ = opened(t, w)
	item, first = w.items[0].Line.Item, w.items[0].Line.Revision
	sealed, err := c.SealEdited(t.Context(), keeper.Edit(first, item, []id.Revision{first}, meta(t, w, vaultfile.Policy{Confirm: true})))
	if err != nil {
		t.Fatalf("an edit that restricts: %v", err)
	}
	push(t, c, w, sealed)
	load(t, c, w)
	return w, c, item, first, sealed.DEK.Revision
}

func meta(t *testing.T, w *world, p vaultfile.Policy) []byte {
	t.Helper()
	return must((&vaultfile.Meta{Name: "key", Public: w.keys[0].public, Policy: p}).Encode())(t)
}

// consent is what an opener signs that took the passphrase for a change.
func consent(t *testing.T, w *world, by *ringtest.Person, change id.Hash) []byte {
	t.Helper()
	return must(by.Halves.Consent(w.Vault(), change))(t)
}

// TestAFrontThatWasTakenOverLoosensNothing: it asks for what lets a key do more, with no
// consent and with consents to something else.
func TestAFrontThatWasTakenOverLoosensNothing(t *testing.T) {
	w, c, item, first, now := restricted(t)
	loose := meta(t, w, vaultfile.Policy{})
	edit := keeper.Edit(now, item, []id.Revision{now}, loose)
	repeat := keeper.Repeat(w.items[0].Line.Text(), []id.Revision{now})
	other := keeper.Edit(now, item, []id.Revision{now}, meta(t, w, vaultfile.Policy{Confirm: true, AllowSHA1: true}))
	blind := keeper.Edit(now, item, []id.Revision{first, now}, meta(t, w, vaultfile.Policy{Confirm: true}))
	stranger := ringtest.NewPerson(t, keyring.Owner)
	for name, with := range map[string]func(change id.Hash) []byte{
		"no consent":                        func(id.Hash) []byte { return nil },
		"another change's":                  func(id.Hash) []byte { return consent(t, w, w.Owner, other.Change()) },
		"that of a removal":                 func(id.Hash) []byte { return consent(t, w, w.Owner, keeper.Removal(item)) },
		"that of who isn't in the vault":    func(change id.Hash) []byte { return consent(t, w, stranger, change) },
		"what the owner signed as a member": func(change id.Hash) []byte { return must(w.Owner.Halves.Sign(change[:]))(t) },
	} {
		for _, q := range []keeper.SealRequest{edit, blind} {
			q.Consent = with(q.Change())
			if _, err := c.SealEdited(t.Context(), q); !errors.Is(err, keeper.ErrLoosens) {
				t.Errorf("%s: an edit: %v", name, err)
			}
		}
		q := repeat
		q.Consent = with(q.Change())
		if _, err := c.SealLine(t.Context(), q); !errors.Is(err, keeper.ErrLoosens) {
			t.Errorf("%s: an earlier revision: %v", name, err)
		}
		if name == "that of a removal" {
			continue
		}
		_, _, err := c.Deks(t.Context(), keyring.Update{Remove: []id.Item{item}, Consents: [][]byte{with(keeper.Removal(item))}}, time.Now())
		if !errors.Is(err, keeper.ErrRefused) {
			t.Errorf("%s: a removal: %v", name, err)
		}
	}
	_, err := c.SealEdited(t.Context(), edit)
	if err == nil || !strings.Contains(err.Error(), "confirm is lifted") {
		t.Errorf("it doesn't say what the edit lifts: %v", err)
	}

	for name, q := range map[string]keeper.SealRequest{
		"as another item":               keeper.Edit(now, id.NewItem(), nil, loose),
		"as another item, in its place": keeper.Edit(now, id.NewItem(), []id.Revision{now}, loose),
		"a new key in its place":        {Draft: 1, Item: item, Parents: []id.Revision{now}, Meta: loose},
	} {
		if _, err := c.SealEdited(t.Context(), q); !errors.Is(err, keeper.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatWasConsentedToIsDone, once: a removal can be asked for again.
func TestWhatWasConsentedToIsDone(t *testing.T) {
	w, c, item, _, now := restricted(t)
	q := keeper.Edit(now, item, []id.Revision{now}, meta(t, w, vaultfile.Policy{AllowSHA1: true}))
	q.Consent = consent(t, w, w.Owner, q.Change())
	sealed, err := c.SealEdited(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	push(t, c, w, sealed)
	load(t, c, w)
	r := keeper.Repeat(w.items[0].Line.Text(), []id.Revision{sealed.DEK.Revision})
	if sealed, err = c.SealLine(t.Context(), r); err != nil {
		t.Fatalf("an earlier revision that allows less: %v", err)
	}
	push(t, c, w, sealed)
	load(t, c, w)

	_, err = c.SealEdited(t.Context(), q) // of what isn't in use any more
	wantErr(t, err, keeper.ErrNoKey)
	removal := consent(t, w, w.Owner, keeper.Removal(item))
	for range 2 {
		if _, _, err := c.Deks(t.Context(), keyring.Update{Remove: []id.Item{item}, Consents: [][]byte{removal}}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}
