package attack

import (
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/testing/sshtest"
)

// A change of keys names the last manifest that its identity's old key signed, so
// that it goes on counting. Here it names one that its signer has only prepared.

// TestAReaderNamesAManifest: promises 7 and 9. A reader may change its own keys, and
// nothing else.
func TestAReaderNamesAManifest(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "reader")
	insider := other.Inside(dir, memberPassphrase)
	members, deks := prepared(t, insider)
	insider.Put("members", members.Encode())
	insider.Put("deks", deks)
	owner.Fails(sshtest.StatusFailed, []string{"who may only read"}, "refresh")
	owner.Signs("shared")
}

// TestARemovedMemberNamedAManifest: promises 9 and 10. A member changes its keys,
// is removed, and stores what it had named while its old KEK is live.
func TestARemovedMemberNamedAManifest(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	insider := other.Inside(dir, memberPassphrase)
	members, deks := prepared(t, insider)
	insider.Put("members", members.Encode())

	removed, _ := firstOfRemoval(t, owner.Inside(dir, ownerPassphrase), insider.ID)
	insider.Put("members", removed.Encode())
	owner.OK("refresh")
	insider.Put("deks", deks)
	owner.Fails(sshtest.StatusFailed, []string{"who is not an identity of the vault"}, "refresh")
	owner.Signs("shared")
}

// prepared is a manifest that removes everything, signed by the insider, and
// members in which the insider gets other keys and names it.
func prepared(t *testing.T, in *sshtest.Insider) (members *keyring.Members, deks []byte) {
	t.Helper()
	var items []id.Item
	for _, e := range in.Deks.All() {
		items = append(items, e.Item)
	}
	next, _, err := in.Deks.Apply(keyring.Update{Remove: items}, in.Members, 1)
	if err != nil {
		t.Fatal(err)
	}
	if deks, err = next.Encode(in.Halves, in.MAC); err != nil {
		t.Fatal(err)
	}
	parsed, err := keyring.ParseDeks(deks, in.Members.Vault())
	if err != nil {
		t.Fatal(err)
	}
	who, _ := in.Members.Identity(in.ID)
	fresh := (&ringtest.Person{Identity: who, Halves: in.Halves}).Rekeyed(t)
	var seals []keyring.Seal
	for version, kek := range in.KEKs {
		seals = append(seals, fresh.Seal(t, kek, in.Members.Vault(), version))
	}
	members, err = in.Members.Append(in.Halves, keyring.Rekey{Public: fresh.Identity.Public, Block: fresh.Block(), Seals: seals, Deks: parsed.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	return members, deks
}

// firstOfRemoval is the first write of a removal, and the KEK that it makes.
func firstOfRemoval(t *testing.T, remover *sshtest.Insider, who id.Identity) (*keyring.Members, []byte) {
	t.Helper()
	members, err := remover.Members.Append(remover.Halves, keyring.RemoveIdentity{ID: who, Deks: remover.Deks.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	kek, seals := ringtest.Random32(), []keyring.Seal(nil)
	for _, to := range members.Identities() {
		seal, err := envelope.SealKEK(kek, to, members.Vault(), members.KEK()+1)
		if err != nil {
			t.Fatal(err)
		}
		seals = append(seals, seal)
	}
	if members, err = members.Append(remover.Halves, keyring.MakeKEK{Seals: seals}); err != nil {
		t.Fatal(err)
	}
	return members, kek
}
