package aws

import (
	"slices"
	"testing"

	"vigil/internal/control"
)

// TestOneCallAnUnlock: init, unlock, add, list, sign, refresh and lock, with the
// calls that each makes.
func TestOneCallAnUnlock(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.init()
	count := func(what string, generate, decrypt int) {
		t.Helper()
		g, d := w.cloud.Count("kms:GenerateDataKey"), w.cloud.Count("kms:Decrypt")
		if g != generate || d != decrypt {
			t.Errorf("%s: %d GenerateDataKey and %d Decrypt, want %d and %d", what, g, d, generate, decrypt)
		}
		if calls := l.status().KMSCalls; calls.GenerateDataKey != int64(generate) || calls.Decrypt != int64(decrypt) || calls.Failed != 0 {
			t.Errorf("%s: status counts %+v, want %d and %d", what, calls, generate, decrypt)
		}
	}
	count("init", 1, 0)
	l.unlock()
	count("unlock", 1, 1)
	l.addKey("work")
	l.addKey("home")
	if got := l.listed(); !slices.Equal(got, []string{"home", "work"}) {
		t.Errorf("listed: %q", got)
	}
	for range 3 {
		l.signs("work")
		l.signs("home")
	}
	count("add, list, sign", 1, 1)
	l.ok("refresh")
	count("refresh", 1, 2)
	l.ok("lock")
	if l.vault().State != control.VaultLocked || l.sign("work") == nil {
		t.Error("it isn't locked")
	}
	count("lock", 1, 2)
	l.unlock()
	l.signs("work")
	count("unlock again", 1, 3)
	l.restart()
	l.unlock()
	l.signs("home")
	if d := w.cloud.Count("kms:Decrypt"); d != 4 {
		t.Errorf("after a restart: %d Decrypt, want 4", d)
	}
}
