package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/sshtest"
)

// quick are settings under which everything that happens by itself happens soon.
var quick = []string{`refresh = "1s"`, `check = "1s"`}

// noDecrypt is a policy that allows the keyring, and of KMS nothing.
const onlyS3 = `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`

// two makes a vault on one laptop, with a key, and unlocks it on another, too.
func (w *world) two(settings ...string) (first, second *laptop) {
	w.Helper()
	first = w.laptop(w.alice, settings...)
	first.OK(first.initArgs("--unlock")...)
	first.AddKey("shared")
	second = w.newHome(w.alice, settings...)
	second.copyVault(first)
	second.Start()
	second.Unlock()
	second.Signs("shared")
	return first, second
}

// TestTwoLaptopsShareAVault: what one adds and removes the other has after one
// refresh, and the removed item's ciphertext can't be opened by anyone.
func TestTwoLaptopsShareAVault(t *testing.T) {
	w := newWorld(t)
	first, second := w.two()
	first.AddKey("later")
	second.TakeVaultFile(first.Home)
	second.OK("refresh")
	if got := second.Listed(); !slices.Equal(got, []string{"later", "shared"}) {
		t.Errorf("the second laptop lists %q", got)
	}
	second.Signs("later")

	before := second.steal() // a copy of everything, as a backup has it
	first.OK(first.By("rm", "--yes", "later")...)
	second.OK("refresh") // with the old file: the keyring alone takes the key away
	if got := second.Listed(); !slices.Equal(got, []string{"shared"}) {
		t.Errorf("after the removal the second laptop lists %q", got)
	}
	if err := second.Sign("later"); err == nil {
		t.Error("a removed key signs")
	}
	// Promise 6: with both factors, the newest keyring and the old vault file.
	now := second.steal()
	now.vault = before.vault
	if o, err := now.open(); err == nil || !strings.Contains(err.Error(), "an item has no DEK") {
		t.Errorf("the removed item: %v, %d items", err, len(o.items))
	}
	if _, err := before.open(); err != nil {
		t.Errorf("the old keyring opens the old file, or this test shows nothing: %v", err)
	}
}

// TestAddedKeysArriveByThemselves: the watcher and the timer, without a command.
func TestAddedKeysArriveByThemselves(t *testing.T) {
	w := newWorld(t)
	first, second := w.two(quick...)
	first.AddKey("later")
	second.TakeVaultFile(first.Home)
	sshtest.Eventually(w, "the key arrives", func() error {
		if got := second.Listed(); !slices.Equal(got, []string{"later", "shared"}) {
			return fmt.Errorf("listed: %q", got)
		}
		return nil
	})
	second.Signs("later")
	first.OK(first.By("rm", "--yes", "shared")...)
	sshtest.Eventually(w, "the key goes", func() error {
		if got := second.Listed(); !slices.Equal(got, []string{"later"}) {
			return fmt.Errorf("listed: %q", got)
		}
		return nil
	})
}

// gone says that a laptop has no key of the vault, can't unlock it, and tells why.
func (l *laptop) gone(status int, texts ...string) {
	l.Helper()
	if err := l.Sign("shared"); err == nil {
		l.Error("a key of a vault that was taken away signs")
	}
	for _, p := range l.Status().Processes {
		if p.Role == "keeper" && p.Vault != "" {
			l.Errorf("a keeper is left: %+v", p)
		}
	}
	l.Fails(status, texts, l.By("unlock")...)
}

// TestDisabledKeyLocks: promise 5, for a key that is disabled or pending deletion.
func TestDisabledKeyLocks(t *testing.T) {
	for state, code := range map[string]string{kmsfake.Disabled: "DisabledException", kmsfake.PendingDeletion: "pending deletion"} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t)
			first, second := w.two(quick...)
			w.kms.SetState(w.arn, state)
			for _, l := range []*laptop{first, second} {
				v := l.becomes(control.VaultRevoked)
				if !strings.Contains(v.Problem, code) || !strings.Contains(v.Problem, "request id") || v.Next == "" {
					t.Errorf("status says %q, next %q", v.Problem, v.Next)
				}
				why := l.OK("why").Out
				if !strings.Contains(why, code) {
					t.Errorf("why says %s", why)
				}
				l.gone(sshtest.StatusRefused, code)
			}
			// The offline share is wiped: no network doesn't help.
			end := w.faults("", awsfake.Fault{Drop: true})
			first.gone(sshtest.StatusUnreachable)
			end()
			w.kms.SetState(w.arn, kmsfake.Enabled)
			first.Unlock()
			first.Signs("shared")
		})
	}
}

// TestRefreshLocksAtOnce: `vigilctl refresh` finds out before any timer does.
func TestRefreshLocksAtOnce(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("shared")
	w.kms.SetState(w.arn, kmsfake.Disabled)
	r := l.Fails(sshtest.StatusRefused, []string{"DisabledException"}, "refresh")
	if !strings.Contains(r.Err, "enabled") {
		t.Errorf("it doesn't say what to do: %s", r)
	}
	l.gone(sshtest.StatusRefused, "DisabledException")
}

// TestDeniedTwiceForgets: a refusal locks; only when it repeats under the same
// caller is the offline share wiped.
func TestDeniedTwiceForgets(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.init()
	l.Unlock()
	l.AddKey("shared")
	bob := w.cloud.AddUser("bob", onlyS3)
	carol := w.cloud.AddUser("carol", onlyS3)

	l.signInAs(bob) // a wrong profile
	l.Fails(sshtest.StatusRefused, []string{"user/bob", "AccessDenied"}, "refresh")
	if err := l.Sign("shared"); err == nil {
		t.Error("a denied vault signs")
	}
	offline := func() sshtest.Result {
		defer w.faults("", awsfake.Fault{Drop: true})()
		defer l.Vigilctl("lock")
		return l.Vigilctl(l.By("unlock")...)
	}
	if r := offline(); r.Status != sshtest.StatusDone {
		t.Errorf("one refusal took the offline share: %s", r)
	}
	l.signInAs(carol) // another one
	l.Fails(sshtest.StatusRefused, []string{"user/carol"}, l.By("unlock")...)
	if r := offline(); r.Status != sshtest.StatusDone {
		t.Errorf("refusals of two callers took the offline share: %s", r)
	}
	l.Fails(sshtest.StatusRefused, []string{"user/carol"}, l.By("unlock")...)
	if r := offline(); r.Status != sshtest.StatusUnreachable {
		t.Errorf("a repeated refusal left the offline share: %s", r)
	}
	l.signInAs(w.alice)
	l.Unlock()
	l.Signs("shared")
}

// TestRemovedAccessKey: an access key that is deactivated is a refusal too.
func TestRemovedAccessKey(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, quick...)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("shared")
	w.cloud.Remove(w.alice)
	v := l.becomes(control.VaultRevoked)
	if !strings.Contains(v.Problem, "security token") && !strings.Contains(v.Problem, "InvalidAccessKeyId") {
		t.Errorf("status says %q", v.Problem)
	}
	l.gone(sshtest.StatusRefused)
}

// TestLeaseEnds: a vault that can reach neither KMS nor backend goes on until
// its lease is over, and then its keys are gone.
func TestLeaseEnds(t *testing.T) {
	for _, cut := range []string{"kms:", "s3:"} {
		t.Run(cut, func(t *testing.T) {
			w := newWorld(t)
			l := w.laptop(w.alice)
			l.OK(l.initArgs("--unlock")...)
			l.AddKey("shared")
			var end func()
			l.withLease(10*time.Second, func() error {
				end = w.faults(cut, awsfake.Fault{Status: 503, Code: "ServiceUnavailable", Message: "come again"})
				var v control.VaultStatus
				sshtest.Eventually(w, "status says that it can't be reached, or the lease is over", func() error {
					if v = l.Vault(); v.State == control.VaultUnlocked && !strings.Contains(v.Problem, "unreachable") {
						return fmt.Errorf("problem %q", v.Problem)
					}
					return nil
				})
				err := l.Sign("shared") // still
				if v.State != control.VaultUnlocked {
					err = fmt.Errorf("the vault is %s: %s", v.State, v.Problem)
				}
				if err != nil {
					end()
				}
				return err
			}, `offline = "0"`)
			v := l.becomes(control.VaultLocked)
			if !strings.Contains(v.Problem+l.OK("why").Out, "lease") {
				t.Errorf("neither status nor why says that the lease ended: %q\n%s", v.Problem, l.OK("why").Out)
			}
			l.gone(sshtest.StatusUnreachable, "unreachable")
			end()
			l.Unlock()
			l.Signs("shared")
		})
	}
}

// TestLeaseIsRenewed: it isn't noticed while both answer.
func TestLeaseIsRenewed(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("shared")
	l.withLease(5*time.Second, func() error {
		first := l.Vault()
		var v control.VaultStatus
		sshtest.Eventually(w, "the lease is renewed beyond its first end, or over", func() error {
			if v = l.Vault(); first.LeaseEnds != nil && v.State == control.VaultUnlocked && !v.LastProof.After(*first.LeaseEnds) {
				return fmt.Errorf("last proof %v, first lease until %v", v.LastProof, first.LeaseEnds)
			}
			return nil
		})
		if first.LeaseEnds == nil || v.State != control.VaultUnlocked {
			return fmt.Errorf("the vault is %s: %s", v.State, v.Problem)
		}
		return l.Sign("shared")
	})
}

// withLease unlocks with a short lease and runs f, which returns an error when the
// lease was over too soon. A slow machine may need longer for what f does: then f
// gets twice the time, and one of more than a minute is enough for any.
func (l *laptop) withLease(lease time.Duration, f func() error, settings ...string) {
	l.Helper()
	for ; ; lease *= 2 {
		l.configure(slices.Concat(quick, settings, []string{fmt.Sprintf("lease = %q", lease)})...)
		l.Restart()
		l.Unlock()
		err := f()
		if err == nil {
			return
		}
		if lease > time.Minute {
			l.Fatalf("with a lease of %v: %v", lease, err)
		}
		l.Logf("with a lease of %v: %v", lease, err)
	}
}
