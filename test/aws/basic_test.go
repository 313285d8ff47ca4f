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
		if calls := l.Status().KMSCalls; calls.GenerateDataKey != int64(generate) || calls.Decrypt != int64(decrypt) || calls.Failed != 0 {
			t.Errorf("%s: status counts %+v, want %d and %d", what, calls, generate, decrypt)
		}
	}
	count("init", 1, 0)
	l.Unlock()
	count("unlock", 1, 1)
	l.AddKey("work")
	l.AddKey("home")
	if got := l.Listed(); !slices.Equal(got, []string{"home", "work"}) {
		t.Errorf("listed: %q", got)
	}
	for range 3 {
		l.Signs("work")
		l.Signs("home")
	}
	count("add, list, sign", 1, 1)
	l.OK("refresh")
	count("refresh", 1, 2)
	l.OK("lock")
	if l.Vault().State != control.VaultLocked || l.Sign("work") == nil {
		t.Error("it isn't locked")
	}
	count("lock", 1, 2)
	l.Unlock()
	l.Signs("work")
	count("unlock again", 1, 3)
	l.Restart()
	l.Unlock()
	l.Signs("home")
	if d := w.cloud.Count("kms:Decrypt"); d != 4 {
		t.Errorf("after a restart: %d Decrypt, want 4", d)
	}
}
