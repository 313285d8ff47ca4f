package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
)

// TestMaxUnlockedHoldsWhateverIsRenewed: neither use nor a proof by the master key puts it
// off, and why says which limit it was.
func TestMaxUnlockedHoldsWhateverIsRenewed(t *testing.T) {
	dev := deviceOf(t)
	dev.configure("[vault.default]\nmax_unlocked = \"3s\"\nrefresh = \"1s\"\ncheck = \"1s\"\n")
	dev.start()
	dev.init("")
	dev.generate("work")
	dev.lock()
	before := time.Now()
	dev.unlock()
	s := dev.status()
	if s.UnlockedUntil == nil || s.UnlockedUntil.Before(before.Add(3*time.Second-time.Millisecond)) || s.UnlockedUntil.After(time.Now().Add(3*time.Second)) {
		t.Fatalf("unlocked at %v, at most until %v", s.UnlockedAt, s.UnlockedUntil)
	}
	key, a := dev.listed()[0], dev.agent()
	must(dev, &control.RefreshRequest{}) // a proof
	for sign(a, key) == nil {
	}
	if early := time.Until(*s.UnlockedUntil); early > 0 {
		t.Fatalf("locked %v too early", early)
	}
	until(t, "the vault to be locked", func() bool { return dev.status().State == control.VaultLocked })
	if !slices.ContainsFunc(dev.why(), func(r string) bool { return strings.Contains(r, "unlocked for 3s") }) {
		t.Fatalf("why says %q", dev.why())
	}
	wantChildren(t, 0, 0)
	dev.unlock() // the next one counts anew
	if next := dev.status().UnlockedUntil; next == nil || !next.After(*s.UnlockedUntil) {
		t.Fatalf("after another unlock: until %v, before it was %v", next, s.UnlockedUntil)
	}
}
