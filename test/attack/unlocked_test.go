package attack

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"vigil/internal/control"
	"vigil/internal/state"
	"vigil/internal/testing/sshtest"
)

// The attacker runs as the user, and speaks on the control socket of an unlocked vault.

// restricted is a home whose key "mine" asks at each use and has two destinations, with the
// revision of before, and the folder of its keyring.
func restricted(t *testing.T) (h *sshtest.Home, first, dir string) {
	t.Helper()
	uri, dir := sshtest.NewShared(t)
	h = sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found(uri, "")
	h.AddKey("free")
	h.OK("generate", "mine", "--type", "rsa", "--bits", "2048")
	var shown control.ShowReply
	h.JSON(&shown, "show", "mine")
	confirm := true
	if e := send(h, "edit", control.EditRequest{Key: "mine", Confirm: &confirm, Destinations: &[]control.Destination{to("a"), to("b")}}, nil); e != nil {
		t.Fatalf("an edit that restricts: %+v", e)
	}
	return h, shown.Key.Revision, dir
}

func to(host string) control.Destination {
	return control.Destination{To: control.Hop{Host: host, Keys: []control.HostKey{{Blob: []byte(host)}}}}
}

// send sends a request with a passphrase, unless that is nil, and returns the error it got.
func send(h *sshtest.Home, op control.Op, body any, passphrase *string) *control.Error {
	h.Helper()
	v, err := connect(h, true, patience)
	if err != nil {
		h.Fatal(err)
	}
	defer v.conn.Close()
	var names []string
	var files []*os.File
	if passphrase != nil {
		r, w := pipe(h.TB, *passphrase)
		w.Close()
		names, files = []string{"passphrase"}, []*os.File{r}
	}
	if err := v.request(op, body, names, files...); err != nil {
		h.Fatal(err)
	}
	answer, err := v.receive()
	var response struct{ Error *control.Error }
	if err == nil {
		err = json.Unmarshal(answer, &response)
	}
	if err != nil {
		h.Fatal(err)
	}
	return response.Error
}

// stored is all that a change would have changed, and what the device has seen.
func stored(h *sshtest.Home, dir string) string {
	h.Helper()
	pins := filepath.Join(h.Path("state/vigil/vaults"), h.VaultID().String(), "pins.json")
	return string(slices.Concat(h.Read(h.VaultFile()), h.Read(filepath.Join(dir, "members")), h.Read(filepath.Join(dir, "deks")), h.Read(pins)))
}

// TestLooseningTakesThePassphrase: promise 9. What lets a key do more than before, or
// destroys, changes nothing without the passphrase, and nothing with a wrong one, guesses
// at which are slowed down. What restricts or renames takes none.
func TestLooseningTakesThePassphrase(t *testing.T) {
	t.Parallel()
	h, first, dir := restricted(t)
	yes, no, text, name, never := true, false, "another comment", "renamed", "never"
	before := stored(h, dir)
	for _, tt := range []struct {
		what string
		op   control.Op
		body any
	}{
		{"confirm is lifted", "edit", control.EditRequest{Key: "mine", Confirm: &no}},
		{"confirm is lifted beside what restricts", "edit", control.EditRequest{Key: "mine", Confirm: &no, Destinations: &[]control.Destination{to("a")}}},
		{"destinations are lifted", "edit", control.EditRequest{Key: "mine", Destinations: &[]control.Destination{}}},
		{"a destination is added", "edit", control.EditRequest{Key: "mine", Destinations: &[]control.Destination{to("a"), to("b"), to("c")}}},
		{"nobody is asked", "edit", control.EditRequest{Key: "mine", Approve: &never}},
		{"SHA-1 is allowed", "edit", control.EditRequest{Key: "mine", AllowSHA1: &yes}},
		{"an earlier revision comes back", "vault_restore", control.RestoreRequest{Key: "mine", Revision: first}},
		{"a key is removed", "rm", control.RemoveRequest{Key: "mine"}},
		{"every revision is superseded", "rotate", control.RotateRequest{Deks: true}},
		{"the keyring is put back", "keyring_restore", control.KeyringRestoreRequest{}},
		{"what was seen is forgotten", "keyring_restore", control.KeyringRestoreRequest{Accept: true}},
	} {
		wrong := "guess"
		for with, passphrase := range map[string]*string{"no passphrase": nil, "a wrong one": &wrong} {
			e := send(h, tt.op, tt.body, passphrase)
			if e == nil || passphrase != nil && e.Code != control.CodeWrongPassphrase {
				t.Errorf("%s, with %s: %+v", tt.what, with, e)
			}
		}
		if stored(h, dir) != before {
			t.Fatalf("%s: it was changed", tt.what)
		}
		h.OK(h.By("export", "free", "--output", "-", "--no-passphrase")...) // ends the delay
	}
	for range 6 {
		wrong := "guess"
		send(h, "edit", control.EditRequest{Key: "mine", Confirm: &no}, &wrong)
	}
	if v := h.Vault(); v.RetryAfter == nil {
		t.Error("guesses aren't slowed down")
	}
	h.Signs("free") // it is still unlocked

	for what, edit := range map[string]control.EditRequest{
		"a destination less": {Key: "mine", Destinations: &[]control.Destination{to("a")}},
		"a comment":          {Key: "mine", Comment: &text},
		"another key's name": {Key: "free", Name: &name},
	} {
		if e := send(h, "edit", edit, nil); e != nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
	right := ownerPassphrase
	if e := send(h, "edit", control.EditRequest{Key: "mine", Confirm: &no}, &right); e != nil {
		t.Errorf("with the passphrase: %+v", e)
	}
	if e := send(h, "rm", control.RemoveRequest{Key: "mine"}, &right); e != nil {
		t.Errorf("with the passphrase: %+v", e)
	}
}

// TestThePassphraseIsForWhatWasShown: promise 9. A person is asked about a change, and the
// attacker makes another in the meantime, or names another: neither is made.
func TestThePassphraseIsForWhatWasShown(t *testing.T) {
	t.Parallel()
	h, _, dir := restricted(t)
	yes, no, right := true, false, ownerPassphrase
	asked := send(h, "edit", control.EditRequest{Key: "mine", Confirm: &no}, nil)
	if asked == nil || asked.Code != control.CodePassphrase || asked.Change == "" {
		t.Fatalf("what it asks about: %+v", asked)
	}
	given := control.Consent{Change: asked.Change}

	before := stored(h, dir)
	e := send(h, "edit", control.EditRequest{Key: "mine", Confirm: &no, AllowSHA1: &yes, Consent: given}, &right)
	if e == nil || e.Code != control.CodeExists || stored(h, dir) != before {
		t.Errorf("another change: %+v", e)
	}

	h.OK("edit", "mine", "--comment", "by the attacker")
	before = stored(h, dir)
	e = send(h, "edit", control.EditRequest{Key: "mine", Confirm: &no, Consent: given}, &right)
	if e == nil || e.Code != control.CodeExists || stored(h, dir) != before {
		t.Errorf("of another revision: %+v", e)
	}
}

// TestARemovalThatWaitsTakesThePassphrase: the attacker notes in the device state that a
// removal waits for the backend. It is refused, and nothing is removed.
func TestARemovalThatWaitsTakesThePassphrase(t *testing.T) {
	t.Parallel()
	h, _, dir := restricted(t)
	before := stored(h, dir)
	_, deks := h.Stored(dir)
	store, err := state.Open(h.Path("state/vigil"))
	if err != nil {
		t.Fatal(err)
	}
	waiting := store.Vault(h.VaultID())
	for head := range deks.Heads() {
		removal := state.Pending{Item: head.Item, Remove: true, Consent: make([]byte, ed25519.SignatureSize)}
		if err := waiting.AddPending(t.Context(), removal); err != nil {
			t.Fatal(err)
		}
		h.Fails(sshtest.StatusFailed, []string{"nobody has consented"}, "refresh")
		if stored(h, dir) != before {
			t.Fatal("it was removed")
		}
		if err := waiting.DropPending(t.Context(), removal); err != nil {
			t.Fatal(err)
		}
	}
	h.OK("refresh")
	h.Signs("free")
}
