package attack

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

// TestAMemberFillsTheChain: promise 10. A member appends records about itself
// until none is left for the owners. It may append a few; with one more the whole
// object counts for nothing, and an owner removes it all the same.
func TestAMemberFillsTheChain(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	insider := other.Inside(dir, memberPassphrase)
	for _, records := range []int{keyring.MaxOwnRecords, keyring.MaxOwnRecords + 1} {
		insider.Put("members", withRecords(insider, records))
		if records <= keyring.MaxOwnRecords {
			owner.OK("refresh")
		} else {
			owner.Fails(sshtest.StatusFailed, []string{"authorisation", "which is all it may"}, "refresh")
		}
	}
	if v := owner.Vault(); v.Problem == "" {
		t.Error("status doesn't show that the keyring is refused")
	}
	canAct(t, owner, other)
}

// TestAMemberHasKeysThatNobodyCanSealTo: promise 10. A new KEK is sealed to every
// identity, so one whose public key is none would make every rotation and every
// removal fail.
func TestAMemberHasKeysThatNobodyCanSealTo(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	insider := other.Inside(dir, memberPassphrase)
	noKey := bytes.Repeat([]byte{0xff}, keyring.HPKEPublicSize)
	fact := fmt.Sprintf(`"rekeyed","identity":"%v","hpke":"%s","ed25519":"%v","unlock":"%v","seals":[{"kek":1,"sha256":"%v"}],"deks":"%v"`,
		insider.ID, sshtest.Base64(noKey), id.Hash{1}, id.Hash{2}, id.Hash{3}, insider.Deks.Hash())
	line, _ := insider.Record(len(insider.Members.Records()), insider.Members.Head(), fact)
	insider.Put("members", insertRecords(insider.Members, line))
	owner.Fails(sshtest.StatusFailed, []string{"isn't reduced"}, "refresh")
	canAct(t, owner, other)
}

// withRecords is members with many records of the insider about its own master key.
func withRecords(in *sshtest.Insider, n int) []byte {
	block, _ := in.Members.Unlock(in.ID)
	var added [][]byte
	prev := in.Members.Head()
	for i := range n {
		line, hash := in.Record(len(in.Members.Records())+i, prev, fmt.Sprintf(`"master-changed","identity":"%v","master":"local","unlock":"%v"`, in.ID, block.Hash()))
		added, prev = append(added, line), hash
	}
	return insertRecords(in.Members, added...)
}

// insertRecords puts lines behind the last record.
func insertRecords(m *keyring.Members, added ...[]byte) []byte {
	lines := slices.Collect(bytes.Lines(m.Encode()))
	return bytes.Join(slices.Insert(lines, len(m.Records())+1, added...), nil)
}

// canAct checks that the owner reads, removes who stands in the way, rotates and
// adds, also after a restart.
func canAct(t *testing.T, owner, other *sshtest.Home) {
	t.Helper()
	owner.Restart()
	owner.Unlock()
	owner.Signs("shared")
	owner.OK(owner.By("identity", "remove", "other", "--yes")...)
	owner.OK("rotate")
	owner.AddKey("later")
	owner.Signs("shared", "later")
	if v := owner.Vault(); v.Problem != "" || v.Rotation != "" {
		t.Errorf("after the removal: %+v", v)
	}
	other.Vigilctl("refresh")
	if other.Sign("shared") == nil {
		t.Error("the removed member signs")
	}
}
