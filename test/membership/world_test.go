package membership

import (
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
	nextPassphrase   = "another one entirely"
)

// home is a device: folders and a vigild of its own.
type home struct{ *sshtest.Home }

// newHome makes a home in which nothing runs. env is added to its environment.
func newHome(t *testing.T, passphrase string, env ...string) *home {
	t.Helper()
	return &home{sshtest.NewHome(t, passphrase, env...)}
}

// two is a vault with an owner's home and one that was admitted in a role, both unlocked.
func two(t *testing.T, role string) (owner, other *home, dir string) {
	t.Helper()
	t.Parallel()
	uri, dir := sshtest.NewShared(t)
	owner = newHome(t, ownerPassphrase)
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("shared")
	other = newHome(t, memberPassphrase)
	other.TakeVaultFile(owner.Home)
	other.Start()
	owner.Admit(other.Request("--backend", uri, "--name", "other"), role)
	other.Unlock()
	other.Signs("shared")
	return owner, other, dir
}
