package membership

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRemovedItemOpensForNobody is promise 6 with a keyring in a folder: once the
// backend and the refreshed devices have dropped an item's DEK, neither they nor
// anybody with a copy of the vault file can open it, whatever else is left.
func TestRemovedItemOpensForNobody(t *testing.T) {
	owner, other, dir := two(t, "member")
	owner.AddKey("secret")
	other.TakeVaultFile(owner.Home)
	other.OK("refresh")
	other.Signs("secret")
	before := other.steal(dir)
	if got := before.open(t, other, memberPassphrase); !slices.Contains(got, "secret") {
		t.Fatalf("before the removal opens %q: this test shows nothing", got)
	}
	wrapped := wrappedDEK(t, owner, dir, before)

	owner.OK(owner.By("rm", "secret", "--yes")...)
	other.OK("refresh") // with the old file
	if err := other.Sign("secret"); err == nil {
		t.Error("a removed key signs")
	}
	now := other.steal(dir)
	now.vault = before.vault
	if got := now.open(t, other, memberPassphrase); slices.Contains(got, "secret") {
		t.Errorf("the old vault file opens to %q", got)
	}
	// No copy of the DEK is left anywhere, wrapped or not.
	for _, root := range []string{dir, owner.Dir, other.Dir} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), wrapped) {
				t.Errorf("%s has the removed item's DEK", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wrappedDEK is the text of the DEK of the newest revision in a stolen keyring.
func wrappedDEK(t *testing.T, h *home, dir string, p parts) string {
	t.Helper()
	for line := range strings.Lines(string(p.deks)) {
		if i := strings.Index(line, `"dek":"`); i >= 0 && strings.Contains(line, newestRevision(t, h, dir)) {
			return line[i+7 : i+7+40]
		}
	}
	t.Fatal("the keyring has no DEK")
	return ""
}

// newestRevision is the one that isn't of the key called shared.
func newestRevision(t *testing.T, h *home, dir string) string {
	t.Helper()
	var keys struct {
		Keys []struct{ Name, Revision string }
	}
	h.JSON(&keys, "list")
	for _, k := range keys.Keys {
		if k.Name == "secret" {
			return k.Revision
		}
	}
	t.Fatal("there is no such key")
	return ""
}
