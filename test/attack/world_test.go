package attack

import (
	"crypto/ed25519"
	"crypto/rand"
	"flag"
	"testing"

	"vigil/internal/testing/sshtest"
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
)

// two is a vault with an owner's home and one that was admitted in a role, both
// unlocked, and the folder of their keyring. The vault has the key "shared".
func two(t *testing.T, role string) (owner, other *sshtest.Home, dir string) {
	t.Helper()
	uri, dir := sshtest.NewShared(t)
	owner = sshtest.NewHome(t, ownerPassphrase)
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("shared")
	other = sshtest.NewHome(t, memberPassphrase)
	other.TakeVaultFile(owner)
	other.Start()
	owner.Admit(other.Request("--backend", uri, "--name", "other"), role)
	other.Unlock()
	other.Signs("shared")
	return owner, other, dir
}

// candidate is a home with the vault's file, which nobody has admitted yet.
func candidate(t *testing.T, owner *sshtest.Home) *sshtest.Home {
	t.Helper()
	h := sshtest.NewHome(t, "a third passphrase")
	h.TakeVaultFile(owner)
	h.Start()
	return h
}

func ed25519Key() (ed25519.PublicKey, ed25519.PrivateKey, error) {
	return ed25519.GenerateKey(rand.Reader)
}
