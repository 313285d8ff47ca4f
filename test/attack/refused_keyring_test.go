package attack

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/testing/sshtest"
)

// What is refused of a keyring must cost nobody what they had, nor let an owner
// replace unread what somebody else saved.

// nobodys is a deks object that nobody signed, under a KEK and of an epoch.
func nobodys(h *sshtest.Home, dir string, kek, epoch uint64) []byte {
	h.Helper()
	m, d := h.Stored(dir)
	zeros := sshtest.Base64
	return fmt.Appendf(nil, `{"vigil":"deks","version":1,"vault":"%v","kek":%d,"epoch":%d,"head":"%v","by":"%v"}`+"\n"+`{"mac":"%s","sig":"%s"}`+"\n",
		m.Vault(), kek, epoch, m.Head(), d.By(), zeros(make([]byte, 32)), zeros(make([]byte, 64)))
}

// TestAChangeKeepsTheLastGoodManifest: promises 7 and 10. Who holds no key stores a
// deks that nobody wrote, and an owner admits somebody meanwhile: what the device
// had accepted last must not be replaced by it.
func TestAChangeKeepsTheLastGoodManifest(t *testing.T) {
	t.Parallel()
	owner, _, dir := two(t, "member")
	third := candidate(t, owner)
	request := third.Request("--backend", "file://"+dir, "--name", "third")
	owner.OK("lock")
	owner.PutObject(dir, "deks", nobodys(owner, dir, 1<<53-1, 1))
	owner.Unlock()
	owner.Signs("shared")
	owner.OK("lock")
	owner.Admit(request, "member")
	owner.Unlock()
	owner.Signs("shared")
	if v := owner.Vault(); v.Problem == "" {
		t.Error("status doesn't show that the keyring is refused")
	}
	owner.Admit(request, "member") // changes nothing, nor what is refused
	if v := owner.Vault(); v.Problem == "" {
		t.Error("status forgets that the keyring is refused")
	}
	owner.OK(owner.By("keyring", "restore")...)
	owner.Signs("shared")
}

// TestNothingUnreadIsReplaced: promise 7. Who keeps the store shows an earlier
// members, while deks has what another member saved. An owner's removal goes on
// from what the device knows of members, and from deks as it is.
func TestNothingUnreadIsReplaced(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	third := candidate(t, owner)
	earlier := owner.Read(dir + "/members")
	owner.Admit(third.Request("--backend", "file://"+dir, "--name", "third"), "member")
	other.OK("refresh")
	other.AddKey("later")
	_, before := owner.Stored(dir)
	owner.PutObject(dir, "members", earlier)
	owner.OK(owner.By("identity", "remove", "third", "--yes")...)
	if _, after := owner.Stored(dir); len(after.All()) != len(before.All()) {
		t.Errorf("deks had %d revisions and has %d", len(before.All()), len(after.All()))
	}
	other.OK("refresh")
	other.Signs("shared", "later")
}

// TestARemovalIsSaidAgain: promises 8 and 10. Who keeps the store puts members from
// before a removal back, to let the ex-member's device go on. The owner removes them
// again, or admits again who was admitted: there is nothing to change, and still what
// the device knows takes the place of what was put back.
func TestARemovalIsSaidAgain(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	third := candidate(t, owner)
	earlier := owner.Read(dir + "/members")
	again := func(said string, do ...string) {
		t.Helper()
		good := owner.Read(dir + "/members")
		owner.PutObject(dir, "members", earlier)
		r := owner.OK(owner.By(do...)...)
		for _, want := range []string{said, "was refused", "has been replaced"} {
			if !strings.Contains(r.Out+r.Err, want) {
				t.Errorf("%v doesn't say %q: %s", do, want, r)
			}
		}
		if got := owner.Read(dir + "/members"); !bytes.Equal(got, good) {
			t.Errorf("after %v the store has members of %d bytes, want the %d there were", do, len(got), len(good))
		}
		owner.OK("refresh")
		if v := owner.Vault(); v.Problem != "" {
			t.Errorf("after %v: %s", do, v.Problem)
		}
	}
	var removed control.IdentityRemoveReply
	owner.JSON(&removed, owner.By("identity", "remove", "other", "--yes")...)
	again("None of these", "identity", "remove", removed.Identities[0].ID, "--yes")
	other.Vigilctl("refresh")
	if other.Sign("shared") == nil {
		t.Error("the removed member signs")
	}
	r := third.Request("--backend", "file://"+dir, "--name", "third")
	owner.Admit(r, "member")
	again("in the vault already", "identity", "admit", owner.Write("request", r.Text), "--words", r.Words, "--role", "member")
}

// TestALongerForkOfMembers: promise 10. A removed member goes on by itself from
// before its removal, until its chain is as long as the owner's.
func TestALongerForkOfMembers(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	insider := other.Inside(dir, memberPassphrase)
	m := insider.Members
	who, _ := m.Identity(insider.ID)
	p := &ringtest.Person{Identity: who, Halves: insider.Halves}
	for range 6 {
		next := p.Rekeyed(t)
		seals := []keyring.Seal{next.Seal(t, insider.KEKs[1], m.Vault(), 1)}
		var err error
		if m, err = m.Append(p.Halves, keyring.Rekey{Public: next.Identity.Public, Block: next.Block(), Seals: seals, Deks: insider.Deks.Hash()}); err != nil {
			t.Fatal(err)
		}
		p = next
	}
	owner.OK(owner.By("identity", "remove", "other", "--yes")...)
	insider.Put("members", m.Encode())
	owner.Vigilctl("refresh")
	owner.Signs("shared")
	owner.OK("lock")
	owner.Unlock()
	owner.Signs("shared")
	if v := owner.Vault(); v.Problem == "" {
		t.Error("status doesn't show the fork")
	}
}

// TestGarbageAfterARotation: promise 10. While an owner's device is locked, another
// owner rotates the KEK, and somebody puts garbage in place of deks.
func TestGarbageAfterARotation(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "owner")
	owner.OK("lock")
	other.OK("rotate")
	owner.PutObject(dir, "deks", []byte("garbage\n"))
	owner.Unlock()
	owner.Signs("shared")
	if v := owner.Vault(); v.Problem == "" {
		t.Error("status doesn't show that deks is refused")
	}
}

// TestWhatNobodySignedIsNoFork: promise 10. A deks that nobody wrote, far ahead,
// looks like somebody's fork and must not keep an owner from removing.
func TestWhatNobodySignedIsNoFork(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	owner.PutObject(dir, "deks", nobodys(owner, dir, 2, 2_000_000))
	canAct(t, owner, other)
}
