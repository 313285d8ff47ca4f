package upgrade

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) {
	sshtest.MainUpgrade(m, "vigild", "vigil-opener", "vigilctl", "vigil-meter")
}

// TestStartedAmidAnUpgrade: a daemon that has found another build's opener takes the right
// one when it is there. It comes before the test that replaces all programs for good.
func TestStartedAmidAnUpgrade(t *testing.T) {
	opener, aside := filepath.Join(sshtest.BinaryDir(), "vigil-opener"), filepath.Join(sshtest.BinaryDir(), "aside")
	err := os.Rename(opener, aside)
	if err == nil {
		err = os.Link(filepath.Join(sshtest.NextDir(), "vigil-opener"), opener)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := sshtest.NewHome(t, "correct horse battery staple")
	h.Start()
	set := append(h.By("init", "--unlock"), sshtest.CheapKDF...)
	const otherBuild = 5
	h.Fails(otherBuild, []string{"vigil-opener is not of vigild's build"}, set...)
	if err := os.Rename(aside, opener); err != nil {
		t.Fatal(err)
	}
	h.OK(set...)
	h.AddKey("laptop")
	h.Signs("laptop")
	h.OK("down")
}

// TestAnUpgradeLocksNobodyOut: a daemon goes on with the build that it was started with, its
// opener and its asker included. The new vigilctl locks it, tells of it and replaces it.
func TestAnUpgradeLocksNobodyOut(t *testing.T) {
	h := sshtest.NewHome(t, "correct horse battery staple")
	askpass := h.Write("askpass", "#!/bin/sh\ncat '"+h.Pass+"'\n")
	if err := os.Chmod(askpass, 0o700); err != nil {
		t.Fatal(err)
	}
	h.Env = append(h.Env, "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	h.Start()
	h.OK(append(h.By("init", "--unlock"), sshtest.CheapKDF...)...)
	h.AddKey("laptop")
	before := h.Status().Build

	old := filepath.Join(h.Dir, "old-vigilctl")
	if err := os.Link(sshtest.Binary(t, "vigilctl"), old); err != nil {
		t.Fatal(err)
	}
	replaceAll(t)

	h.Signs("laptop")
	// What the old daemon does for itself, at each refresh say, it does as before.
	for _, args := range [][]string{{"generate", "second"}, {"refresh"}, {"lock"}, h.By("unlock")} {
		cmd := exec.Command(old, args...)
		cmd.Env = append(os.Environ(), h.Env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("vigilctl of the old build: %s: %v\n%s", args[0], err, out)
		}
	}
	h.Signs("laptop", "second")

	const otherBuild = 5
	h.Fails(otherBuild, []string{"a restart is pending", "`vigilctl up` restarts it; that locks it."}, "status")
	if out := h.OK("version").Out; !strings.Contains(out, before) {
		t.Fatalf("version doesn't name the daemon's build %s:\n%s", before, out)
	}
	h.OK("lock")
	h.Signs("laptop") // it asks
	if err := os.Remove(askpass); err != nil {
		t.Fatal(err)
	}
	h.OK("lock")
	if err := h.Sign("laptop"); err == nil {
		t.Fatal("a locked daemon of the old build signed")
	}
	h.OK(h.By("up")...)
	if now := h.Status().Build; now == before {
		t.Fatalf("the daemon is still of build %s", now)
	}
	h.Signs("laptop", "second")
	h.OK("down")
}

// replaceAll puts the next build in place of this one, a file at a time.
func replaceAll(t *testing.T) {
	t.Helper()
	next, err := os.ReadDir(sshtest.NextDir())
	if err != nil || len(next) == 0 {
		t.Fatalf("%d programs in the next build, %v", len(next), err)
	}
	for _, f := range next {
		if err := os.Rename(filepath.Join(sshtest.NextDir(), f.Name()), filepath.Join(sshtest.BinaryDir(), f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}
