package attack

import (
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// TestAnOlderFileLiftsNoRestriction: promise 9. A sync provider, who holds no
// secret, puts back the vault file of before `edit --confirm`. The earlier
// revision is genuine; on a device that has had the stricter one it must not
// serve, and neither on one that hasn't, as the keyring says that there is one.
func TestAnOlderFileLiftsNoRestriction(t *testing.T) {
	t.Parallel()
	owner, other, _ := two(t, "owner")
	before := owner.Read(owner.VaultFile())
	owner.OK("edit", "shared", "--confirm")
	putFile(t, owner, before)

	for name, h := range map[string]*sshtest.Home{"has had the newer one": owner, "never had it": other} {
		for _, when := range []string{"at once", "after a restart"} {
			if when == "at once" {
				h.OK("refresh")
			} else {
				h.Restart()
				h.Unlock()
			}
			if h.Sign("shared") == nil {
				t.Errorf("a device that %s, %s: a key that asks at each use signs without", name, when)
			}
			missingIsShown(t, h, control.KeyHeld)
		}
		if why := h.OK("why").Out; !strings.Contains(why, "newer revision") {
			t.Errorf("a device that %s: why says %q", name, why)
		}
	}
}

// TestAPermissionTakenBackIsGone: promise 9. The same with a permission: an RSA key that
// may no longer sign with SHA-1.
func TestAPermissionTakenBackIsGone(t *testing.T) {
	t.Parallel()
	owner, other, _ := two(t, "owner")
	owner.OK("generate", "old", "--type", "rsa", "--bits", "2048")
	owner.OK(owner.By("edit", "old", "--allow-sha1", "--comment", "old")...)
	before := owner.Read(owner.VaultFile())
	other.TakeVaultFile(owner)
	other.OK("refresh")
	owner.Signs("old") // without a flag, which is SHA-1
	other.Signs("old")
	owner.OK("edit", "old", "--allow-sha1=false")
	putFile(t, owner, before)
	for name, h := range map[string]*sshtest.Home{"has had the newer one": owner, "never had it": other} {
		h.OK("refresh")
		if h.Sign("old") == nil {
			t.Errorf("a device that %s signs with SHA-1", name)
		}
		if why := h.OK("why").Out; !strings.Contains(why, "newer revision") {
			t.Errorf("a device that %s: why says %q", name, why)
		}
	}
}

// TestASupersededRevisionDoesNotServeAgain: promise 9. The same with an edit that
// restricts nothing. On a device that has had the new revision the old one is
// history; one that is still waiting for it goes on with the old one.
func TestASupersededRevisionDoesNotServeAgain(t *testing.T) {
	t.Parallel()
	owner, other, _ := two(t, "owner")
	before := owner.Read(owner.VaultFile())
	owner.OK("edit", "shared", "--host", "*.example.com")
	putFile(t, owner, before)
	owner.OK("refresh")
	for range 2 {
		if owner.Sign("shared") == nil {
			t.Error("a superseded revision serves on a device that has had its successor")
		}
		missingIsShown(t, owner, control.KeyHeld)
		owner.Restart()
		owner.Unlock()
	}
	other.OK("refresh")
	other.Signs("shared")
	missingIsShown(t, other, control.KeyOutdated)

	// With the newest file all is well again.
	owner.OK(owner.By("edit", "shared", "--host", "*.example.org")...) // nobody knows what the lost one allowed
	owner.Signs("shared")
	other.TakeVaultFile(owner)
	other.OK("refresh")
	other.Signs("shared")
}

// missingIsShown checks that status, list and doctor tell of a key whose newest
// revision is not in the vault file.
func missingIsShown(t *testing.T, h *sshtest.Home, want control.KeyState) {
	t.Helper()
	if v := h.Vault(); len(v.Missing) != 1 || v.Missing[0] != "shared" {
		t.Errorf("status says that %q are missing", v.Missing)
	}
	var list control.ListReply
	h.JSON(&list, "list")
	if len(list.Keys) != 1 || list.Keys[0].State != want {
		t.Errorf("list says %+v, want state %q", list.Keys, want)
	}
	if r := h.Vigilctl("doctor"); !strings.Contains(r.Out, "lacks the newest revision of 1 key: shared") {
		t.Errorf("doctor says %s", r)
	}
}
