package membership

import (
	"os"
	"testing"

	"vigil/internal/testing/sshtest"
)

// TestARequestThatCannotBeWritten makes no identity, and leaves no file.
func TestARequestThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	uri, _ := sshtest.NewShared(t)
	owner := newHome(t, ownerPassphrase)
	owner.Start()
	owner.Found(uri, "")
	other := newHome(t, memberPassphrase)
	other.TakeVaultFile(owner.Home)
	other.Start()
	request := append(append(other.By("identity", "request"), sshtest.CheapKDF...), "--backend", uri, "--output")
	taken := other.Write("taken", "mine\n")
	other.Fails(sshtest.StatusFailed, []string{"Nothing was changed", "exists"}, append(request, taken)...)
	if got := string(other.Read(taken)); got != "mine\n" {
		t.Errorf("the file holds %q", got)
	}
	free := other.Path("request")
	empty := append([]string{"identity", "request", "--passphrase-file", other.Write("empty", "\n"), "--backend", uri, "--output", free}, sshtest.CheapKDF...)
	other.Fails(sshtest.StatusUsage, []string{"empty"}, empty...)
	if _, err := os.Stat(free); err == nil {
		t.Error("a request that wasn't made left a file")
	}
	other.OK(append(request, free)...) // without --replace: there is no identity yet
}
