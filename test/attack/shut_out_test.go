package attack

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

// TestAMemberShutsTheOwnersOut: promise 10. After a change of its own passphrase a
// member makes the next KEK, with noise as the owner's seal, and retires the one
// before. Only owners make and retire KEKs: what it stores is refused, the vault
// goes on under the earlier KEK, and it is shown.
func TestAMemberShutsTheOwnersOut(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	next := other.Write("next", "another one entirely\n")
	other.OK(other.By("passphrase", "--new-passphrase-file", next)...)
	owner.OK("refresh")
	insider := other.Inside(dir, "another one entirely")
	m := insider.Members

	kek := make([]byte, envelope.KeySize)
	seq := len(m.Records())
	var seals [][]byte
	for _, who := range m.Identities() {
		seal, err := envelope.SealKEK(kek, who, m.Vault(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if who.ID != insider.ID {
			seal.Sealed[0] ^= 1
		}
		seals = append(seals, fmt.Appendf(nil, `{"seal":{"record":%d,"identity":"%v","kek":2,"suite":"%s","sealed":"%s"}}`+"\n",
			seq, who.ID, keyring.Suite, sshtest.Base64(seal.Sealed[:])))
	}
	slices.SortFunc(seals, bytes.Compare)
	made, hash := insider.Record(seq, m.Head(), fmt.Sprintf(`"kek-made","kek":2,"seals":"%v"`, id.HashOf(bytes.Join(seals, nil))))
	retired, _ := insider.Record(seq+1, hash, `"kek-retired","kek":1`)
	lines := slices.DeleteFunc(slices.Collect(bytes.Lines(insertRecords(m, made, retired))), func(line []byte) bool {
		return bytes.HasPrefix(line, []byte(`{"seal":`))
	})
	lines = slices.Insert(lines, seq+3, seals...)
	insider.Put("members", bytes.Join(lines, nil))

	owner.Fails(sshtest.StatusFailed, []string{"is not an owner and may not append"}, "refresh")
	owner.Signs("shared")
	if v := owner.Vault(); v.Problem == "" || v.KEKVersion != 1 {
		t.Errorf("status says %+v", v)
	}
	canAct(t, owner, other)
}
