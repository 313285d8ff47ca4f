package membership

import (
	"slices"
	"strings"
	"testing"

	"vigil/internal/control"
)

func TestAdmission(t *testing.T) {
	t.Parallel()
	uri, _ := shared(t)
	owner := newHome(t, ownerPassphrase)
	owner.start()
	owner.found(uri, "")
	owner.addKey("work")
	other := newHome(t, memberPassphrase)
	other.start()
	other.fails(statusFailed, "file", append(other.by("identity", "request", "--backend", uri), cheapKDF...)...)
	other.takeFile(owner)

	r := other.request("--backend", uri, "--name", "the desktop")
	if len(strings.Fields(r.Words)) < 10 {
		t.Errorf("the fingerprint is %q", r.Words)
	}
	other.fails(statusRefused, "not admitted", other.by("unlock")...)
	text := owner.write("request", r.Text)
	owner.fails(statusWrong, "wrong passphrase", "identity", "admit", text, "--words", r.Words, "--passphrase-file", other.pass)
	owner.fails(statusRefused, "words", owner.by("identity", "admit", text, "--words", strings.Repeat("acid ", 12))...)
	changed := owner.write("changed", strings.Replace(r.Text, "A", "B", 1))
	owner.fails(statusFailed, "request", owner.by("identity", "admit", changed, "--words", r.Words)...)
	other.fails(statusRefused, "not admitted", other.by("unlock")...)

	owner.ok("lock") // it asks for the passphrase, unlocked or not
	owner.admit(r, "member")
	other.unlock()
	other.signs("work")
	owner.unlock()

	var list control.IdentityListReply
	owner.json(&list, "identity", "list")
	if len(list.Identities) != 2 || !list.Identities[0].This || list.Identities[0].Role != "owner" ||
		list.Identities[1].ID != r.Identity || list.Identities[1].Name != "the desktop" || list.Identities[1].Role != "member" || list.Identities[1].Admitted == nil {
		t.Errorf("the owner lists %+v", list.Identities)
	}
	other.json(&list, "identity", "list")
	if len(list.Identities) != 2 || !list.Identities[1].This {
		t.Errorf("the member lists %+v", list.Identities)
	}

	// What either adds the other has.
	other.addKey("from-desktop")
	owner.takeFile(other)
	owner.ok("refresh")
	owner.signs("work", "from-desktop")

	// A member lets nobody in, and shuts nobody out.
	third := newHome(t, nextPassphrase)
	third.takeFile(owner)
	third.start()
	again := third.request("--backend", uri)
	other.fails(statusRefused, "not an owner", other.by("identity", "admit", other.write("request", again.Text), "--words", again.Words)...)
	other.fails(statusRefused, "not an owner", other.by("identity", "remove", list.Identities[0].ID, "--yes")...)
	other.fails(statusRefused, "owners", "rotate")
}

func TestAnAdmittedOwnerIsOne(t *testing.T) {
	owner, other, _ := two(t, "owner")
	var list control.IdentityListReply
	other.json(&list, "identity", "list")
	other.ok(other.by("identity", "remove", list.Identities[0].ID, "--yes")...)
	owner.ctl("refresh")
	if err := owner.sign("shared"); err == nil {
		t.Error("the first owner was removed and signs")
	}
	other.signs("shared")
	other.fails(2, "itself", other.by("identity", "remove", list.Identities[1].ID, "--yes")...)
}

// TestRemovedMeansGone is promise 5 for an identity that is removed: its daemon
// drops the keys at the next refresh, and can't unlock again.
func TestRemovedMeansGone(t *testing.T) {
	owner, other, dir := two(t, "member")
	owner.fails(statusFailed, "no identity", owner.by("identity", "remove", "nobody", "--yes")...)
	owner.fails(statusWrong, "wrong passphrase", "identity", "remove", "other", "--yes", "--passphrase-file", other.pass)
	other.signs("shared")

	var removed control.IdentityRemoveReply
	owner.json(&removed, owner.by("identity", "remove", "other", "--yes")...)
	if len(removed.Replace) != 1 || removed.Replace[0].Comment != "shared" || removed.KEK != 2 {
		t.Errorf("removal says %+v", removed)
	}
	owner.signs("shared")
	other.ctl("refresh")
	if err := other.sign("shared"); err == nil {
		t.Error("a removed identity signs after a refresh")
	}
	if v := other.vault(); v.State != control.VaultRevoked || !strings.Contains(v.Problem, "removed") {
		t.Errorf("status says %+v", v)
	}
	other.fails(statusRefused, "removed", other.by("unlock")...)

	members, deks := owner.stored(dir)
	if got := members.KEKs(); !slices.Equal(got, []uint64{2}) || deks.KEK() != 2 {
		t.Errorf("live KEKs are %v, deks is under %d", got, deks.KEK())
	}
	for _, e := range deks.All() {
		if e.KEK != 2 {
			t.Errorf("a DEK is wrapped by KEK %d", e.KEK)
		}
	}

	// It may ask again, as somebody new.
	other.fails(statusFailed, "has identity", append(other.by("identity", "request"), cheapKDF...)...)
	owner.admit(other.request("--replace"), "member")
	other.unlock()
	other.signs("shared")
}
