package membership

import (
	"flag"
	"path/filepath"
	"testing"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/sshtest"
	"vigil/internal/vaultfile"
)

func TestMain(m *testing.M) {
	// They wait more than they work: for disks, and for clients that try again.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	sshtest.Main(m, "vigild", "vigil-opener", "vigilctl")
}

const (
	ownerPassphrase  = "correct horse battery staple"
	memberPassphrase = "trombone umbrella windmill"
	nextPassphrase   = "another one entirely"
)

// home is a device: folders and a vigild of its own.
type home struct{ *sshtest.Home }

// newHome makes a home in which nothing runs. env is added to its environment.
func newHome(t *testing.T, passphrase string, env ...string) *home {
	t.Helper()
	return &home{sshtest.NewHome(t, passphrase, env...)}
}

// found makes the vault in a home with a backend and a master; "": the local ones.
func (h *home) found(backend, master string) {
	h.Helper()
	args := append(h.By("init", "--unlock"), sshtest.CheapKDF...)
	if backend != "" {
		args = append(args, "--backend", backend)
	}
	if master != "" {
		args = append(args, "--master", master)
	}
	h.OK(args...)
}

// vaultID is the id in the vault file.
func (h *home) vaultID() id.Vault {
	h.Helper()
	f, err := vaultfile.Parse(h.Read(h.VaultFile()), id.Vault{})
	if err != nil {
		h.Fatal(err)
	}
	return f.Vault()
}

// shared is a place for a keyring that several homes of this machine share.
func shared(t *testing.T) (uri, dir string) {
	t.Helper()
	dir = sshtest.NewDir(t)
	return "file://" + dir, dir
}

// stored reads the keyring in a folder.
func (h *home) stored(dir string) (*keyring.Members, *keyring.Deks) {
	h.Helper()
	members, err := keyring.ParseMembers(h.Read(filepath.Join(dir, "members")), h.vaultID())
	if err != nil {
		h.Fatal(err)
	}
	deks, err := keyring.ParseDeks(h.Read(filepath.Join(dir, "deks")), h.vaultID())
	if err != nil {
		h.Fatal(err)
	}
	return members, deks
}

// request asks in a home to be let in, and returns what it printed.
func (h *home) request(args ...string) (r control.IdentityRequestReply) {
	h.Helper()
	h.JSON(&r, append(append(h.By("identity", "request"), sshtest.CheapKDF...), args...)...)
	return r
}

// admit lets in whoever made a request.
func (h *home) admit(r control.IdentityRequestReply, role string) {
	h.Helper()
	h.OK(h.By("identity", "admit", h.Write("request", r.Text), "--words", r.Words, "--role", role)...)
}

// two is a vault with an owner's home and one that was admitted in a role, both unlocked.
func two(t *testing.T, role string) (owner, other *home, dir string) {
	t.Helper()
	t.Parallel()
	uri, dir := shared(t)
	owner = newHome(t, ownerPassphrase)
	owner.Start()
	owner.found(uri, "")
	owner.AddKey("shared")
	other = newHome(t, memberPassphrase)
	other.TakeVaultFile(owner.Home)
	other.Start()
	owner.admit(other.request("--backend", uri, "--name", "other"), role)
	other.Unlock()
	other.Signs("shared")
	return owner, other, dir
}
