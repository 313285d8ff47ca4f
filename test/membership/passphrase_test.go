package membership

import (
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
	"vigil/internal/vaultfile"
)

func TestPassphrase(t *testing.T) {
	for _, role := range []string{"owner", "member"} {
		t.Run(role, func(t *testing.T) {
			owner, other, dir := two(t, role)
			next := other.Write("next", nextPassphrase)
			other.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "passphrase", "--passphrase-file", next, "--new-passphrase-file", next)
			before := other.steal(dir)

			// Unlocked: the keeper is handed the new keys and goes on.
			var r control.PassphraseReply
			keeper := other.Vault().Keeper
			other.JSON(&r, other.By("passphrase", "--new-passphrase-file", next)...)
			if v := other.Vault(); r.Locked || v.State != control.VaultUnlocked || v.Keeper != keeper {
				t.Errorf("after the change: %+v, vault %+v", r, v)
			}
			if role == "owner" && r.KEK != 2 || role == "member" && (r.KEK != 1 || len(r.Notices) != 1) {
				t.Errorf("after the change: %+v", r)
			}
			other.Signs("shared")
			if role == "member" { // its daemon does it after its next refreshes
				owner.OK("rotate")
			}
			other.AddKey("later")
			owner.TakeVaultFile(other.Home)
			owner.OK("refresh")
			owner.Signs("shared", "later")

			other.OK("lock")
			other.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, other.By("unlock")...)
			other.OK("unlock", "--passphrase-file", next)
			other.Signs("shared", "later")

			// Locked: back again.
			other.OK("lock")
			other.OK("passphrase", "--passphrase-file", next, "--new-passphrase-file", other.Pass)
			other.Unlock()
			other.Signs("shared", "later")
			owner.OK("refresh")
			owner.Signs("shared", "later")
			if role == "member" {
				owner.OK("rotate")
			}
			owner.OK("lock")
			owner.Unlock()

			// An old copy of the keyring with the old passphrase, the device's own
			// master key, and everything that is public now.
			old, now := before, other.steal(dir)
			old.deks, old.vault = now.deks, now.vault
			if opened := old.open(t, other, memberPassphrase); len(opened) != 0 {
				t.Errorf("the old keyring and the old passphrase open %q", opened)
			}
			if opened := before.open(t, other, memberPassphrase); len(opened) != 1 {
				t.Errorf("what was there before opens to %q: this test shows nothing", opened)
			}
		})
	}
}

// parts are what somebody has who copied a keyring and a vault file.
type parts struct{ members, deks, vault []byte }

func (h *home) steal(dir string) parts {
	h.Helper()
	return parts{h.Read(dir + "/members"), h.Read(dir + "/deks"), h.Read(h.VaultFile())}
}

// open goes down the hierarchy with an identity's passphrase and its device's
// master key, checks nothing that an attacker would skip, and returns the names
// of the items that open.
func (p parts) open(t *testing.T, h *home, pass string) (names []string) {
	t.Helper()
	file, err := vaultfile.Parse(p.vault, id.Vault{})
	if err != nil {
		t.Fatal(err)
	}
	members, err := keyring.ParseMembers(p.members, file.Vault())
	if err != nil {
		t.Fatal(err)
	}
	me := members.Identities()[0]
	for _, i := range members.Identities() {
		if i.AddedBy != i.ID {
			me = i
		}
	}
	halves := h.OpenHalves(members, me.ID, pass)
	deks, err := keyring.ParseDeks(p.deks, file.Vault())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range members.KEKs() {
		seal, _ := members.Seal(version, me.ID)
		kek := make([]byte, envelope.KeySize)
		if err := halves.OpenKEK(kek, seal, file.Vault()); err != nil {
			t.Fatal(err)
		}
		for _, l := range file.Lines() {
			line := l.Decode()
			entry := deks.Lookup(line.Revision)
			dek := make([]byte, envelope.KeySize)
			if entry == nil || envelope.UnwrapDEK(dek, entry, kek, file.Vault(), version) != nil {
				continue
			}
			meta := make([]byte, envelope.OpenSize(line.Meta))
			b := envelope.Binding{Vault: file.Vault(), Item: line.Item, Revision: line.Revision, Parents: line.Parents}
			if n, err := envelope.OpenMeta(meta, dek, b, line.Meta); err == nil {
				m, err := vaultfile.ParseMeta(meta[:n])
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, m.Name)
			}
		}
	}
	return names
}

// An empty new passphrase changes nothing.
func TestPassphraseIsRefusedWithoutANewOne(t *testing.T) {
	t.Parallel()
	owner := newHome(t, ownerPassphrase)
	owner.Start()
	owner.Found("", "")
	owner.AddKey("work")
	owner.Fails(sshtest.StatusUsage, []string{"passphrase"}, owner.By("passphrase", "--new-passphrase-file", owner.Write("empty", "\n"))...)
	owner.Signs("work")
	owner.OK("lock")
	owner.Unlock()
	owner.OK("rotate")
	if v := owner.Vault(); v.KEKVersion != 2 || strings.Contains(v.Problem, "damaged") {
		t.Errorf("status says %+v", v)
	}
}
