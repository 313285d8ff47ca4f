package membership

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

// TestRotationByItself: an owner's daemon makes a new KEK when the old one is as
// old as `rotate` says, a member's doesn't, and both go on.
func TestRotationByItself(t *testing.T) {
	t.Parallel()
	uri, _ := sshtest.NewShared(t)
	owner, other := newHome(t, ownerPassphrase), newHome(t, memberPassphrase)
	for _, h := range []*home{owner, other} {
		h.Write("config/vigil/config.toml", "[vault.default]\nrefresh = \"1s\"\nrotate = \"3s\"\n")
	}
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("shared")
	other.TakeVaultFile(owner.Home)
	other.Start()
	owner.Admit(other.Request("--backend", uri), "member")
	other.Unlock()
	rotated := func(h *home, than uint64) func() error {
		return func() error {
			if v := h.Vault(); v.KEKVersion <= than {
				return fmt.Errorf("the KEK is %d", v.KEKVersion)
			}
			return nil
		}
	}
	sshtest.Eventually(owner, "a new KEK", rotated(owner, 1))
	sshtest.Eventually(other, "the new KEK arrives", rotated(other, 1))
	owner.Signs("shared")
	other.Signs("shared")
	owner.OK("lock")
	other.OK("refresh") // what the owner made until then
	now, began := other.Vault().KEKVersion, time.Now()
	sshtest.Eventually(other, "refreshes for longer than a KEK lives", func() error {
		if v := other.Vault(); v.LastRefresh == nil || v.LastRefresh.Sub(began) < 4*time.Second {
			return fmt.Errorf("the last one was at %v", v.LastRefresh)
		}
		return nil
	})
	if v := other.Vault(); v.KEKVersion != now {
		t.Errorf("a member's daemon rotated from KEK %d to %d", now, v.KEKVersion)
	}
}

// TestInterruptedRotationIsFinishedByItself: by the daemon of whoever may, after
// two refreshes found it unfinished.
func TestInterruptedRotationIsFinishedByItself(t *testing.T) {
	t.Parallel()
	p := newPair(t, "owner")
	p.other.OK("lock")
	p.other.Write("config/vigil/config.toml", "[vault.default]\nrefresh = \"1s\"\n")
	p.other.Restart()
	p.other.Unlock()
	mend := p.cut(2, false, "s3:PutObject") // the new KEK is made, and nothing wrapped by it
	p.owner.Vigilctl("rotate")
	if !mend() {
		t.Fatal("the rotation wasn't cut")
	}
	sshtest.Eventually(p.other, "the rotation is finished", func() error {
		members, deks := p.keyring()
		if got := members.KEKs(); !slices.Equal(got, []uint64{2}) || deks.KEK() != 2 {
			return fmt.Errorf("live KEKs %v, deks under %d", got, deks.KEK())
		}
		return nil
	})
	p.both(t, "afterwards")
}

// TestWritersDuringRotations: whatever KEK a key was sealed under when a rotation
// came in between, it is saved.
func TestWritersDuringRotations(t *testing.T) {
	owner, other, dir := two(t, "member")
	const rounds = 8
	var working sync.WaitGroup
	working.Go(func() {
		for range rounds {
			if r := owner.Vigilctl("rotate"); r.Status != 0 {
				t.Errorf("rotate: %s", r)
			}
		}
	})
	for n := range rounds {
		if r := other.Vigilctl("generate", fmt.Sprintf("key-%d", n)); r.Status != 0 {
			t.Errorf("generate %d: %s", n, r)
		}
	}
	working.Wait()
	other.OK("refresh")
	for n := range rounds {
		if r := other.Vigilctl("show", fmt.Sprintf("key-%d", n)); r.Status != 0 {
			t.Errorf("a key that was reported as saved: %s", r)
		}
	}
	members, deks := owner.Stored(dir)
	if members.KEK() != rounds+1 || deks.KEK() != members.KEK() || len(slices.Collect(deks.Heads())) != rounds+1 {
		t.Errorf("KEK %d, deks under %d with %d heads", members.KEK(), deks.KEK(), len(slices.Collect(deks.Heads())))
	}
	owner.TakeVaultFile(other.Home)
	owner.OK("refresh")
	var r struct{ Problems []string }
	for _, h := range []*home{owner, other} {
		h.JSON(&r, "vault", "verify")
		if len(r.Problems) > 0 {
			t.Errorf("problems: %q", r.Problems)
		}
	}
}

// TestPassphraseWaitsForPendingChanges: what waits on this device is sealed to
// the keys that a change of passphrase replaces.
func TestPassphraseWaitsForPendingChanges(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member")
	next := p.other.Write("next", nextPassphrase)
	mend := p.cut(1, false, "s3:PutObject", "s3:GetObject")
	p.other.OK("generate", "offline")
	mend()
	p.other.Fails(sshtest.StatusRefused, []string{"saved on this device only"}, p.other.By("passphrase", "--new-passphrase-file", next)...)
	p.other.OK("refresh")
	p.other.OK(p.other.By("passphrase", "--new-passphrase-file", next)...)
	p.other.Signs("shared")
	p.other.OK("show", "offline")
	p.both(t, "afterwards")
}

// TestPendingThroughARotation: a device that was cut off while a whole rotation
// went by pushes what it had saved, and loses nothing.
func TestPendingThroughARotation(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member")
	mend := p.cut(1, false, "s3:PutObject", "s3:GetObject")
	p.other.OK("generate", "offline")
	mend()
	p.owner.OK("rotate")
	p.owner.OK("rotate")
	p.other.OK("lock")
	p.other.Unlock()
	p.other.OK("refresh")
	if v := p.other.Vault(); v.Pending != 0 || v.KEKVersion != 3 {
		t.Errorf("after the refresh: %+v", v)
	}
	p.owner.TakeVaultFile(p.other.Home)
	p.owner.OK("refresh")
	p.owner.OK("show", "offline")
	p.both(t, "afterwards")
}
