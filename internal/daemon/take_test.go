package daemon

import (
	"slices"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// TestAPolicyOfALaterVersion takes its key out of use, and leaves it listed by
// its name, at each load: the keeper tells of an item only once.
func TestAPolicyOfALaterVersion(t *testing.T) {
	meta := vaultfile.Meta{Name: "work", Public: []byte("public key")}
	meta.Policy.Other = []vaultfile.PolicyEntry{{Name: "office-hours@example.com", Data: []byte{1}}}
	text, err := meta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o := &openVault{}
	item := keeper.Item{Key: 1, Item: id.NewItem(), Revision: id.NewRevision(), Meta: text}
	for n := range 3 {
		changed := o.take(&keeper.Loaded{Items: []keeper.Item{item}}, opener.Fetched{}, vaultfile.New(id.Vault{}), keyring.Update{})
		if changed != (n == 0) {
			t.Errorf("load %d: changed: %v", n+1, changed)
		}
		f := o.facts[item.Revision]
		if f == nil || f.meta.Name != "work" || !strings.Contains(f.problem, "doesn't know") {
			t.Fatalf("load %d: %+v", n+1, f)
		}
		item.Meta = nil
	}
	item.Problem = "it doesn't open"
	o.take(&keeper.Loaded{Items: []keeper.Item{item}}, opener.Fetched{}, vaultfile.New(id.Vault{}), keyring.Update{})
	if f := o.facts[item.Revision]; f.problem != item.Problem {
		t.Fatalf("damaged meanwhile: %+v", f)
	}
}

// TestTheStricterHeadServes: a key that was edited on two devices serves by the
// head that restricts it most, and by none where each has a restriction of its own.
func TestTheStricterHeadServes(t *testing.T) {
	item := id.NewItem()
	head := func(confirm bool, destinations []byte) *fact {
		f := &fact{item: item, revision: id.NewRevision()}
		f.meta.Policy.Confirm, f.meta.Policy.Destinations = confirm, destinations
		return f
	}
	many := make([]*fact, keyring.MaxParents+1)
	none := make([]bool, len(many))
	for i := range many {
		many[i], none[i] = head(true, nil), true
	}
	for name, tt := range map[string]struct {
		heads []*fact
		laxer []bool
	}{
		"more than an edit resolves": {many, none},
		"one":                        {[]*fact{head(false, nil)}, []bool{false}},
		"alike":                      {[]*fact{head(true, nil), head(true, nil)}, []bool{false, false}},
		"one is stricter":            {[]*fact{head(false, nil), head(true, nil)}, []bool{true, false}},
		"each in its way":            {[]*fact{head(true, nil), head(false, []byte{1})}, []bool{true, true}},
		"another item is no matter":  {[]*fact{head(false, nil), {item: id.NewItem()}}, []bool{false, false}},
	} {
		markLaxer(tt.heads, map[id.Item]bool{item: true})
		for i, f := range tt.heads {
			if f.unlisted && !slices.Contains(tt.laxer, false) {
				t.Errorf("%s: head %d isn't listed, nor is another", name, i)
			}
			if f.laxer != tt.laxer[i] || (f.refusal() != "") != tt.laxer[i] {
				t.Errorf("%s: head %d: laxer is %v, refusal %q", name, i, f.laxer, f.refusal())
			}
		}
	}
}
