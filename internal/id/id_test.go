package id

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestOneSpelling(t *testing.T) {
	item := Item{0: 1, 15: 2}
	text := item.String()
	if len(text) != 22 || len(HashOf(nil).String()) != 43 {
		t.Fatalf("%q has %d characters", text, len(text))
	}
	var got Item
	if err := got.UnmarshalText([]byte(text)); err != nil || got != item {
		t.Fatalf("read back %v, %v", got, err)
	}
	for _, bad := range []string{"", text[1:], text + "A", text[:21] + "h", "\n" + text[1:], text[:21] + "=", text[:21] + "+"} {
		if err := new(Item).UnmarshalText([]byte(bad)); !errors.Is(err, ErrID) {
			t.Errorf("%q: %v, want ErrID", bad, err)
		}
	}
}

func TestJSON(t *testing.T) {
	type all struct {
		H Hash
		V Vault
		I Identity
		K Item
		R Revision
	}
	want := all{HashOf([]byte("a")), Vault{1}, NewIdentity(), NewItem(), NewRevision()}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got all
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Fatalf("read back %v, %v", got, err)
	}
}

func TestRandom(t *testing.T) {
	first, second := NewItem(), NewItem()
	if first == second || NewRevision().IsZero() || NewIdentity().IsZero() {
		t.Fatal("ids repeat")
	}
	for range 4096 { // one of 64 would
		if text := NewItem().String(); text[0] == '-' {
			t.Fatalf("%s looks like a flag", text)
		}
	}
	if err := new(Item).UnmarshalText([]byte("-" + NewItem().String()[1:])); err != nil {
		t.Fatalf("one that somebody else made: %v", err)
	}
}
