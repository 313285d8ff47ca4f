package membership

import (
	"os"
	"slices"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

func TestAdmission(t *testing.T) {
	t.Parallel()
	uri, _ := sshtest.NewShared(t)
	owner := newHome(t, ownerPassphrase)
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("work")
	other := newHome(t, memberPassphrase)
	other.Start()
	other.Fails(sshtest.StatusFailed, []string{"file"}, append(other.By("identity", "request", "--backend", uri), sshtest.CheapKDF...)...)
	other.TakeVaultFile(owner.Home)

	r := other.Request("--backend", uri, "--name", "the desktop")
	if len(strings.Fields(r.Words)) < 10 {
		t.Errorf("the fingerprint is %q", r.Words)
	}
	other.Fails(sshtest.StatusRefused, []string{"not admitted"}, other.By("unlock")...)
	text := owner.Write("request", r.Text)
	owner.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "identity", "admit", text, "--words", r.Words, "--passphrase-file", other.Pass)
	owner.Fails(sshtest.StatusRefused, []string{"words"}, owner.By("identity", "admit", text, "--words", strings.Repeat("acid ", 12))...)
	changed := owner.Write("changed", strings.Replace(r.Text, "A", "B", 1))
	owner.Fails(sshtest.StatusFailed, []string{"request"}, owner.By("identity", "admit", changed, "--words", r.Words)...)
	other.Fails(sshtest.StatusRefused, []string{"not admitted"}, other.By("unlock")...)

	owner.OK("lock") // it asks for the passphrase, unlocked or not
	owner.Admit(r, "member")
	other.Unlock()
	other.Signs("work")
	owner.Unlock()

	var list control.IdentityListReply
	owner.JSON(&list, "identity", "list")
	if len(list.Identities) != 2 || !list.Identities[0].This || list.Identities[0].Role != "owner" ||
		list.Identities[1].ID != r.Identity || list.Identities[1].Name != "the desktop" || list.Identities[1].Role != "member" || list.Identities[1].Admitted == nil {
		t.Errorf("the owner lists %+v", list.Identities)
	}
	other.JSON(&list, "identity", "list")
	if len(list.Identities) != 2 || !list.Identities[1].This {
		t.Errorf("the member lists %+v", list.Identities)
	}

	// What either adds the other has.
	other.AddKey("from-desktop")
	owner.TakeVaultFile(other.Home)
	owner.OK("refresh")
	owner.Signs("work", "from-desktop")

	// A member lets nobody in, and shuts nobody out.
	third := newHome(t, nextPassphrase)
	third.TakeVaultFile(owner.Home)
	third.Start()
	again := third.Request("--backend", uri)
	other.Fails(sshtest.StatusRefused, []string{"not an owner"}, other.By("identity", "admit", other.Write("request", again.Text), "--words", again.Words)...)
	other.Fails(sshtest.StatusRefused, []string{"not an owner"}, other.By("identity", "remove", list.Identities[0].ID, "--yes")...)
	other.Fails(sshtest.StatusRefused, []string{"owners"}, "rotate")
}

func TestAnAdmittedOwnerIsOne(t *testing.T) {
	owner, other, _ := two(t, "owner")
	var list control.IdentityListReply
	other.JSON(&list, "identity", "list")
	other.OK(other.By("identity", "remove", list.Identities[0].ID, "--yes")...)
	owner.Vigilctl("refresh")
	if err := owner.Sign("shared"); err == nil {
		t.Error("the first owner was removed and signs")
	}
	other.Signs("shared")
	other.Fails(sshtest.StatusUsage, []string{"itself"}, other.By("identity", "remove", list.Identities[1].ID, "--yes")...)
}

// TestRemovedMeansGone is promise 5 for an identity that is removed: its daemon
// drops the keys at the next refresh, and can't unlock again.
func TestRemovedMeansGone(t *testing.T) {
	owner, other, dir := two(t, "member")
	owner.Fails(sshtest.StatusFailed, []string{"no identity"}, owner.By("identity", "remove", "nobody", "--yes")...)
	owner.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "identity", "remove", "other", "--yes", "--passphrase-file", other.Pass)
	other.Signs("shared")

	var removed control.IdentityRemoveReply
	owner.JSON(&removed, owner.By("identity", "remove", "other", "--yes")...)
	if len(removed.Replace) != 1 || removed.Replace[0].Comment != "shared" || removed.KEK != 2 {
		t.Errorf("removal says %+v", removed)
	}
	owner.Signs("shared")
	other.Vigilctl("refresh")
	if err := other.Sign("shared"); err == nil {
		t.Error("a removed identity signs after a refresh")
	}
	if v := other.Vault(); v.State != control.VaultRevoked || !strings.Contains(v.Problem, "removed") {
		t.Errorf("status says %+v", v)
	}
	other.Fails(sshtest.StatusRefused, []string{"removed"}, other.By("unlock")...)

	members, deks := owner.Stored(dir)
	if got := members.KEKs(); !slices.Equal(got, []uint64{2}) || deks.KEK() != 2 {
		t.Errorf("live KEKs are %v, deks is under %d", got, deks.KEK())
	}

	// It may ask again, as somebody new.
	other.Fails(sshtest.StatusFailed, []string{"has identity"}, append(other.By("identity", "request"), sshtest.CheapKDF...)...)
	owner.Admit(other.Request("--replace"), "member")
	other.Unlock()
	other.Signs("shared")
}

// TestAReaderSignsAndChangesNothing: what a role may do is held by what every
// device verifies, and not by the reader's own client.
func TestAReaderSignsAndChangesNothing(t *testing.T) {
	owner, other, dir := two(t, "reader")
	other.Signs("shared")
	for _, args := range [][]string{{"generate", "mine"}, {"edit", "shared", "--confirm"}, other.By("rm", "shared", "--yes"), other.By("rotate", "--deks")} {
		if r := other.Vigilctl(args...); r.Status != sshtest.StatusRefused {
			t.Errorf("a reader runs %v: %s", args, r)
		}
	}
	other.OK("refresh")
	if v := other.Vault(); v.Problem != "" || v.Pending != 0 {
		t.Errorf("afterwards: %+v", v)
	}
	owner.OK("rotate")
	other.OK("refresh")
	other.Signs("shared")

	// With a client of its own it knows the KEK, and can make a right MAC.
	insider := other.Inside(dir, memberPassphrase)
	next, _, err := insider.Deks.Apply(keyring.Update{}, insider.Members, 1)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := next.Encode(insider.Halves, insider.MAC)
	if err != nil {
		t.Fatal(err)
	}
	insider.Put("deks", forged)
	owner.Fails(sshtest.StatusFailed, []string{"may only read"}, "refresh")
	owner.Signs("shared")
}

// TestALostStateFolder is what a backup of the data folder leaves out: which of the
// vault's identities is this device's. Its master key opens the share of one.
func TestALostStateFolder(t *testing.T) {
	owner, other, _ := two(t, "member")
	for _, h := range []*home{other, owner} {
		if err := h.Agent.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(h.Path("state/vigil")); err != nil {
			t.Fatal(err)
		}
		h.Start()
		h.Fails(4, []string{"wrong passphrase"}, "unlock", "--passphrase-file", h.Write("wrong", "not it\n"))
		h.Unlock()
		h.Signs("shared")
	}
	if a, b := owner.Vault().Identity, other.Vault().Identity; a == b || a == "" {
		t.Errorf("the identities are %s and %s", a, b)
	}
	// With neither's master key, nothing is derived.
	if err := other.Agent.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"state/vigil", "data/vigil/device"} {
		if err := os.RemoveAll(other.Path(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(other.Path("data/vigil/device"), os.DirFS(newHome(t, "x").withMaster(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(other.Path("data/vigil/device/master.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	other.Start()
	other.Fails(7, []string{"opens the share of none of the vault's 2 identities", "join the vault anew"}, other.By("unlock")...)
}

// withMaster makes a vault, and returns the folder with the home's local master key.
func (h *home) withMaster(t *testing.T) string {
	t.Helper()
	h.Start()
	h.OK(append(h.By("init"), sshtest.CheapKDF...)...)
	return h.Path("data/vigil/device")
}
