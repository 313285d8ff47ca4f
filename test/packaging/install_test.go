package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstalledUsedAndRemoved: a person installs the package, enables Vigil, logs in with a
// vault's key through the agent that systemd started, and removes and purges it. Nothing
// stays but what is theirs.
func TestInstalledUsedAndRemoved(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a throw-away root")
	}
	throwAway(t, "../service/testdata/login.sh")
}

// TestUpgradedWhileUnlocked: another build's package replaces this one under an unlocked
// vault. Signatures go on, and the user restarts the daemon when they like.
func TestUpgradedWhileUnlocked(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a throw-away root")
	}
	dir, err := os.MkdirTemp("/tmp", "vn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := buildNext(filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	throwAway(t, "testdata/upgrade.sh", next)
}

// throwAway runs a script in a throw-away root with the .deb.
func throwAway(t *testing.T, script string, next ...string) {
	t.Helper()
	// Scripts are read from a folder that everyone can read.
	dir, err := os.MkdirTemp("/tmp", "vi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../service/testdata/manager.sh", "../service/testdata/steps.sh", script, "testdata/throwaway.sh"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("unshare", append([]string{
		"--mount", "--pid", "--fork", "--mount-proc", "bash", filepath.Join(dir, "throwaway.sh"),
		built["deb"], filepath.Join(dir, "manager.sh"), filepath.Join(dir, filepath.Base(script)),
	}, next...)...).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "nothing is left\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}
