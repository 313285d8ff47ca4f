package hardening

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDeadlinesHoldWithoutTheFront stops the front, as a debugger or a bug
// might: the keeper ends by itself when it must.
func TestDeadlinesHoldWithoutTheFront(t *testing.T) {
	for name, settings := range map[string]string{
		"idle":         "idle = \"2s\"\n",
		"lease":        "lease = \"3s\"\nrefresh = \"1s\"\ncheck = \"1s\"\n",
		"max_unlocked": "max_unlocked = \"3s\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, settings)
			keeper := w.halt()
			w.until("the end of the keeper", func() bool { return ended(keeper) })
			check(t, w.agent.Process.Signal(unix.SIGCONT))
			w.until("the vault to be locked", func() bool {
				return strings.Contains(w.run("vigilctl", "status"), "locked")
			})
		})
	}
}

// TestUnlockedIsNotEnough holds that what widens who has a key asks for the
// passphrase again.
func TestUnlockedIsNotEnough(t *testing.T) {
	w := start(t, "")
	w.addKeys()
	for _, args := range [][]string{
		{"export", "laptop", "--output", "exported", "--no-passphrase"},
		{"export", "laptop", "--output", "exported", "--no-passphrase", "--passphrase-file", "/dev/null"},
	} {
		if out, err := w.command("vigilctl", args...).CombinedOutput(); err == nil {
			t.Errorf("%v succeeded without a passphrase:\n%s", args, out)
		}
	}
}
