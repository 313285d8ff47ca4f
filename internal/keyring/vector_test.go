package keyring_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
	wordlist "vigil/internal/words"
)

// TestRequestVector fixes the form of requests: old ones stay readable, and people
// with different versions see the same words.
func TestRequestVector(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "request.txt"))
	if err != nil {
		t.Fatal(err)
	}
	words, err := os.ReadFile(filepath.Join("testdata", "request.words"))
	if err != nil {
		t.Fatal(err)
	}
	var vault id.Vault
	if err := vault.UnmarshalText([]byte("VmlnaWwgdGVzdCB2ZWN0b3IgZm9yIGEgcmVxdWVzdCE")); err != nil {
		t.Fatal(err)
	}
	r, err := keyring.ParseRequest(string(text), vault)
	if err != nil {
		t.Fatal(err)
	}
	if r.Words()+"\n" != string(words) || r.Name != "vector" || r.Block.Master != "local" {
		t.Errorf("read %q of %q, master %q", r.Words(), r.Name, r.Block.Master)
	}
}

// TestWordsAreDocumented: the format's documentation has the list.
func TestWordsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "vault-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(doc), "### Words\n")
	if !ok {
		t.Fatal("docs/vault-format.md has no list of words")
	}
	_, after, _ = strings.Cut(after, "```\n")
	list, _, _ := strings.Cut(after, "```")
	if got, want := strings.Fields(list), wordlist.List; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("docs/vault-format.md lists %d words that differ from the %d of this package", len(got), len(want))
	}
}
