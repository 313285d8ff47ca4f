package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/sshtest"
)

// TestPendingWrites: what is added without a backend says so, is usable, and
// survives lock, restart and a revocation in between; it is pushed when the
// backend is back, and other devices get it.
func TestPendingWrites(t *testing.T) {
	w := newWorld(t)
	first, second := w.two()
	end := w.faults("s3:", awsfake.Fault{Drop: true})
	r := first.OK("generate", "travelling", "--comment", "travelling")
	if !strings.Contains(r.Err, "this device only") {
		t.Errorf("it doesn't say where it was saved: %s", r)
	}
	if v := first.Vault(); v.Pending != 1 {
		t.Errorf("status: %d pending", v.Pending)
	}
	first.Signs("travelling")
	first.OK("lock")
	first.Unlock() // offline: from the kept share and keyring
	first.Signs("travelling")
	first.Restart()
	first.Unlock()
	first.Signs("travelling")
	if v := first.Vault(); v.Pending != 1 || !v.Offline {
		t.Errorf("after a restart: %d pending, offline %t", v.Pending, v.Offline)
	}
	end()
	// Revoked before it could be pushed: it waits on.
	w.kms.SetState(w.arn, kmsfake.Disabled)
	first.Fails(sshtest.StatusRefused, []string{"DisabledException"}, "refresh")
	w.kms.SetState(w.arn, kmsfake.Enabled)
	first.Unlock()
	first.OK("refresh")
	if v := first.Vault(); v.Pending != 0 || v.Problem != "" {
		t.Errorf("with the backend back: %d pending, problem %q", v.Pending, v.Problem)
	}
	first.Signs("travelling")
	second.TakeVaultFile(first.Home)
	second.OK("refresh")
	if got := second.Listed(); !slices.Equal(got, []string{"shared", "travelling"}) {
		t.Errorf("the second laptop lists %q", got)
	}
	second.Signs("travelling")
}

// TestRemovalNeedsTheBackend: a removal can't be promised without it.
func TestRemovalNeedsTheBackend(t *testing.T) {
	w := newWorld(t)
	first, second := w.two()
	end := w.faults("s3:", awsfake.Fault{Drop: true})
	r := first.Vigilctl(first.By("rm", "--yes", "shared")...)
	if r.Status == sshtest.StatusDone && !strings.Contains(r.Err, "this device only") {
		t.Errorf("rm without a backend claims success: %s", r)
	}
	end()
	first.OK("refresh")
	second.OK("refresh")
	if done := r.Status == sshtest.StatusDone; done == (second.Sign("shared") == nil) {
		t.Errorf("rm ended with %d, and the other device has the key: %v", r.Status, second.Sign("shared"))
	}
}

// TestRefreshCostsNothing: while nothing changes, a refresh gets 304s, and the
// KMS is asked no oftener than `check` says.
func TestRefreshCostsNothing(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, `refresh = "1s"`, `check = "1h"`)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("work")
	w.cloud.Forget()
	const refreshes = 3
	sshtest.Eventually(w, "it is refreshed by itself", func() error {
		if n := w.cloud.Count("s3:GetObject"); n < 2*refreshes {
			return fmt.Errorf("%d GETs", n)
		}
		return nil
	})
	for _, e := range w.cloud.Exchanges() {
		if e.Action != "s3:GetObject" || e.Status != 304 || len(e.Answer) > 0 {
			t.Errorf("%s ends with %d and %d bytes", e.Action, e.Status, len(e.Answer))
		}
	}
	if v := l.Vault(); v.State != control.VaultUnlocked || v.LastRefresh == nil {
		t.Errorf("vault is %s, refreshed %v", v.State, v.LastRefresh)
	}
	for range 5 {
		l.Signs("work")
	}
	if n := w.cloud.Count("kms:Decrypt"); n != 0 {
		t.Errorf("%d Decrypts", n)
	}
}
