package vault

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// TestAPolicyOfALaterVersion: a key with a newer version's policy is unusable but
// listed by its name after every load, although the keeper reports an item only once.
func TestAPolicyOfALaterVersion(t *testing.T) {
	meta := vaultfile.Meta{Name: "work", Public: []byte("public key")}
	meta.Policy.Other = []vaultfile.PolicyEntry{{Name: "office-hours@example.com", Data: []byte{1}}}
	text, err := meta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	item := keeper.Item{Key: 1, Item: id.NewItem(), Revision: id.NewRevision(), Meta: text}
	w := ringtest.New(t)
	now := taken(t, w)
	load := func(item keeper.Item) (changed bool) {
		t.Helper()
		next, changed, err := now.next(w.Vault(), &loadedParts{
			Loaded: &keeper.Loaded{Items: []keeper.Item{item}}, keyring: now.keyring, file: w.File.Index(),
		})
		if err != nil {
			t.Fatal(err)
		}
		now = next
		return changed
	}
	for n := range 3 {
		if changed := load(item); changed != (n == 0) {
			t.Errorf("load %d: changed: %v", n+1, changed)
		}
		k := now.byRevision[item.Revision]
		if k == nil || k.meta.Name != "work" || !strings.Contains(k.problem, "doesn't know") {
			t.Fatalf("load %d: %+v", n+1, k)
		}
		item.Meta = nil
	}
	item.Problem = "it doesn't open"
	load(item)
	if k := now.byRevision[item.Revision]; k.problem != item.Problem {
		t.Fatalf("damaged meanwhile: %+v", k)
	}
}

// TestASnapshotStaysAsItIs: later loads don't change a snapshot, as its readers take
// no lock.
func TestASnapshotStaysAsItIs(t *testing.T) {
	w := ringtest.New(t)
	meta := func(name string, confirm bool) []byte {
		m := vaultfile.Meta{Name: name, Public: []byte("public key of " + name)}
		m.Policy.Confirm = confirm
		text, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	a := keeper.Item{Key: 1, Item: id.NewItem(), Revision: id.NewRevision(), Meta: meta("a", false)}
	b := keeper.Item{Key: 2, Item: id.NewItem(), Revision: id.NewRevision(), Meta: meta("b", false)}
	first := taken(t, w, a, b)
	names := func(n *snapshot) (names string) {
		for i, k := range n.keys {
			if n.byRevision[k.revision] != k {
				t.Errorf("key %d is not the one of its revision", i)
			}
			names += k.meta.Name
		}
		return names
	}
	was := []Key{*first.keys[0], *first.keys[1]}
	a.Meta, b.Meta = nil, nil
	a.Key, b.State = 11, keeper.ItemOutdated
	stricter := keeper.Item{Key: 3, Item: a.Item, Revision: id.NewRevision(), Meta: meta("a", true)}
	next, changed, err := first.next(w.Vault(), &loadedParts{
		Loaded: &keeper.Loaded{Items: []keeper.Item{stricter, b, a}}, keyring: first.keyring, file: w.File.Index(),
		waiting: keyring.Update{Add: []keyring.DEK{{Item: b.Item, Revision: b.Revision}}},
	})
	if err != nil || !changed || names(next) != "aab" {
		t.Fatalf("%q, changed: %v, %v", names(next), changed, err)
	}
	if k := next.byRevision[a.Revision]; k.number != 11 || !k.laxer || !k.unlisted || k.heads != 2 {
		t.Errorf("the laxer head: %+v", k)
	}
	if k := next.byRevision[b.Revision]; !k.pending || k.state != keeper.ItemOutdated {
		t.Errorf("the key that waits: %+v", k)
	}
	last, changed, err := next.next(w.Vault(), &loadedParts{
		Loaded: &keeper.Loaded{Items: []keeper.Item{a}}, keyring: first.keyring, file: w.File.Index(),
	})
	if err != nil || !changed || names(last) != "a" || last.keys[0].laxer {
		t.Errorf("%q, changed: %v, %v", names(last), changed, err)
	}
	if names(first) != "ab" || !reflect.DeepEqual(was, []Key{*first.keys[0], *first.keys[1]}) {
		t.Errorf("the first snapshot lists %q now, and its keys changed", names(first))
	}
	if names(next) != "aab" || first.members != last.members {
		t.Errorf("the second snapshot lists %q now; the chain was read again: %v", names(next), first.members != last.members)
	}
}

// TestTheStricterHeadServes: of a key edited on two devices, only the most restricted
// head is usable, or none if each has a restriction that the other lacks.
func TestTheStricterHeadServes(t *testing.T) {
	item := id.NewItem()
	head := func(confirm bool, destinations []byte) *Key {
		k := &Key{item: item, revision: id.NewRevision()}
		k.meta.Policy.Confirm, k.meta.Policy.Destinations = confirm, destinations
		return k
	}
	many := make([]*Key, keyring.MaxParents+1)
	none := make([]bool, len(many))
	for i := range many {
		many[i], none[i] = head(true, nil), true
	}
	for name, tt := range map[string]struct {
		heads []*Key
		laxer []bool
	}{
		"more than an edit resolves": {many, none},
		"one":                        {[]*Key{head(false, nil)}, []bool{false}},
		"alike":                      {[]*Key{head(true, nil), head(true, nil)}, []bool{false, false}},
		"one is stricter":            {[]*Key{head(false, nil), head(true, nil)}, []bool{true, false}},
		"each in its way":            {[]*Key{head(true, nil), head(false, []byte{1})}, []bool{true, true}},
		"another item is no matter":  {[]*Key{head(false, nil), {item: id.NewItem()}}, []bool{false, false}},
	} {
		markLaxer(tt.heads, map[id.Item]bool{item: true})
		for i, k := range tt.heads {
			if k.unlisted && !slices.Contains(tt.laxer, false) {
				t.Errorf("%s: head %d isn't listed, nor is another", name, i)
			}
			if k.laxer != tt.laxer[i] || (k.refusal() != "") != tt.laxer[i] {
				t.Errorf("%s: head %d: laxer is %v, refusal %q", name, i, k.laxer, k.refusal())
			}
		}
	}
}

// TestALoadThatWasGivenUp: the keeper tells the metadata of an item once, also in a load
// whose file was not put in place in the end.
func TestALoadThatWasGivenUp(t *testing.T) {
	w := ringtest.New(t)
	meta := vaultfile.Meta{Name: "work", Public: []byte("public key")}
	text, err := meta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o := &openVault{id: w.Vault(), told: taken(t, w)}
	o.loaded.Store(o.told)
	item := keeper.Item{Key: 1, Item: id.NewItem(), Revision: id.NewRevision(), Meta: text}
	for range 2 {
		next, err := o.hear(&loadedParts{Loaded: &keeper.Loaded{Items: []keeper.Item{item}}, keyring: o.now().keyring, file: w.File.Index()})
		if err != nil {
			t.Fatal(err)
		}
		if k := next.byRevision[item.Revision]; k.problem != "" || k.meta.Name != "work" || !next.changed {
			t.Errorf("the key is %+v, changed: %v", k, next.changed)
		}
		item.Meta = nil // it isn't told again, and the load before wasn't taken over
	}
}
