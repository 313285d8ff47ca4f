package attack

import (
	"os"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// TestAStoppedEditHoldsNothingForGood: promises 7 and 9. An edit that restricts a
// key is stopped between keyring and vault file, as by who makes the folder
// unwritable. The key must not stay out of use because nobody has the line: the
// next refresh that can ends the edit.
func TestAStoppedEditHoldsNothingForGood(t *testing.T) {
	t.Parallel()
	owner, _, _ := two(t, "member")
	folder := owner.Path("data/vigil/vaults/default")
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
	owner.Fails(sshtest.StatusFailed, []string{"permission denied"}, "edit", "shared", "--confirm")
	if owner.Sign("shared") == nil {
		t.Error("the keyring says that the key asks at each use, and it signs without")
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	owner.Restart()
	owner.Unlock()
	owner.OK("refresh")
	var list control.ListReply
	owner.JSON(&list, "list")
	if v := owner.Vault(); len(v.Missing) != 0 || v.Pending != 0 || len(list.Keys) != 1 || list.Keys[0].State != control.KeyUsable || !list.Keys[0].Confirm {
		t.Errorf("after the refresh: missing %v, %d pending, keys %+v", v.Missing, v.Pending, list.Keys)
	}
}
