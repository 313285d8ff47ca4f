package attack

import (
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

// TestIDsThatLookLikeFlags: who asks to be let in has chosen an id that begins with
// "-", or with "--", so that nobody can type it to shut them out. `identity remove`
// takes what `identity list` shows. Promise 5.
func TestIDsThatLookLikeFlags(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found("", "")
	h.AddKey("shared")
	for _, text := range []string{"-S6eAAAAAAAAAAAAAAAAAA", "--6eAAAAAAAAAAAAAAAAAA", "-helpAAAAAAAAAAAAAAAAA", "-jsonAAAAAAAAAAAAAAAAA"} {
		chosen, err := id.ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		h.Admit(requestAs(t, h.VaultID(), chosen), "member")
		var list control.IdentityListReply
		h.JSON(&list, "identity", "list")
		if !strings.Contains(h.OK("identity", "list").Out, text) || len(list.Identities) != 2 {
			t.Fatalf("%s isn't a member: %+v", text, list)
		}
		h.OK(h.By("identity", "remove", text, "--yes")...)
		h.JSON(&list, "identity", "list")
		if len(list.Identities) != 1 {
			t.Errorf("%s is a member still: %+v", text, list)
		}
	}
	h.Fails(sshtest.StatusFailed, []string{"is not in the vault", "vigilctl identity list"}, h.By("identity", "remove", "-S6eAAAAAAAAAAAAAAAAAw", "--yes")...)
	// What begins so and can't be an id is told how to be written.
	h.Fails(sshtest.StatusUsage, []string{`"--"`}, "show", "-x")
	h.Fails(sshtest.StatusFailed, []string{"-x"}, "show", "--", "-x")
}

// requestAs is a request to be let in with an id of the candidate's choosing.
func requestAs(t *testing.T, vault id.Vault, chosen id.Identity) control.IdentityRequestReply {
	t.Helper()
	halves, err := envelope.GenerateHalves(chosen, make([]byte, envelope.HalvesSize))
	if err != nil {
		t.Fatal(err)
	}
	public, err := halves.Public()
	if err != nil {
		t.Fatal(err)
	}
	r := keyring.Request{Vault: vault, Name: "other", Public: public, Block: keyring.UnlockBlock{
		Identity: chosen, KDF: keyring.DefaultKDF([keyring.KDFSaltSize]byte{1}), Master: "local", Share: []byte("a share"),
	}}
	text, err := r.Sign(halves)
	if err != nil {
		t.Fatal(err)
	}
	return control.IdentityRequestReply{Text: text, Words: r.Words()}
}
