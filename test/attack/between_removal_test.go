package attack

import (
	"errors"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

// TestAWriteBetweenRemovalAndRewrap: promise 10. An owner's removal stopped before the DEKs
// were rewrapped. Another device that adds a key then must not wrap it by the
// KEK that the removed identity knows.
func TestAWriteBetweenRemovalAndRewrap(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	third := candidate(t, owner)
	owner.Admit(third.Request("--backend", "file://"+dir, "--name", "third"), "member")
	third.Unlock()
	insider := other.Inside(dir, memberPassphrase)

	// The first write of a removal, and nothing after it.
	members, _ := firstOfRemoval(t, owner.Inside(dir, ownerPassphrase), insider.ID)
	insider.Put("members", members.Encode())

	// What the removed identity goes on to sign counts for nothing, although the KEK
	// in use is one that it knows.
	good := third.Read(dir + "/deks")
	next, _, err := insider.Deks.Apply(keyring.Update{}, insider.Members, 1)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := next.Encode(insider.Halves, insider.MAC)
	if err != nil {
		t.Fatal(err)
	}
	insider.Put("deks", forged)
	third.Fails(sshtest.StatusFailed, []string{"who is not an identity of the vault"}, "refresh")
	insider.Put("deks", good)

	third.OK("refresh")
	third.AddKey("later")
	third.Signs("shared", "later")
	_, deks := third.Stored(dir)
	if len(deks.All()) != 2 {
		t.Fatalf("%d DEKs", len(deks.All()))
	}
	for _, e := range deks.All() {
		err := envelope.UnwrapDEK(make([]byte, envelope.KeySize), &e, insider.KEKs[1], deks.Vault(), 1)
		if !errors.Is(err, envelope.ErrWrongKey) {
			t.Errorf("the removed identity's KEK opens a DEK that was written after its removal: %v", err)
		}
	}

	// Nor does it now, with the older KEK.
	insider.Put("deks", forged)
	third.Fails(sshtest.StatusFailed, []string{"who is not an identity of the vault"}, "refresh")
	third.Signs("shared", "later")
}
