package membership

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestRotationByItself: an owner's daemon makes a new KEK when the old one is as
// old as `rotate` says, a member's doesn't, and both go on.
func TestRotationByItself(t *testing.T) {
	t.Parallel()
	uri, _ := shared(t)
	owner, other := newHome(t, ownerPassphrase), newHome(t, memberPassphrase)
	for _, h := range []*home{owner, other} {
		h.write("config/vigil/config.toml", "[vault.default]\nrefresh = \"1s\"\nrotate = \"3s\"\n")
	}
	owner.start()
	owner.found(uri, "")
	owner.addKey("shared")
	other.takeFile(owner)
	other.start()
	owner.admit(other.request("--backend", uri), "member")
	other.unlock()
	rotated := func(h *home, than uint64) func() error {
		return func() error {
			if v := h.vault(); v.KEKVersion <= than {
				return fmt.Errorf("the KEK is %d", v.KEKVersion)
			}
			return nil
		}
	}
	owner.eventually("a new KEK", rotated(owner, 1))
	other.eventually("the new KEK arrives", rotated(other, 1))
	owner.signs("shared")
	other.signs("shared")
	owner.ok("lock")
	other.ok("refresh") // what the owner made until then
	now, began := other.vault().KEKVersion, time.Now()
	other.eventually("refreshes for longer than a KEK lives", func() error {
		if v := other.vault(); v.LastRefresh == nil || v.LastRefresh.Sub(began) < 4*time.Second {
			return fmt.Errorf("the last one was at %v", v.LastRefresh)
		}
		return nil
	})
	if v := other.vault(); v.KEKVersion != now {
		t.Errorf("a member's daemon rotated from KEK %d to %d", now, v.KEKVersion)
	}
}

// TestInterruptedRotationIsFinishedByItself: by the daemon of whoever may, after
// two refreshes found it unfinished.
func TestInterruptedRotationIsFinishedByItself(t *testing.T) {
	t.Parallel()
	p := newPair(t, "owner")
	p.other.ok("lock")
	p.other.write("config/vigil/config.toml", "[vault.default]\nrefresh = \"1s\"\n")
	p.other.restart()
	p.other.unlock()
	mend := p.cut(2, false, "s3:PutObject") // the new KEK is made, and nothing wrapped by it
	p.owner.ctl("rotate")
	if !mend() {
		t.Fatal("the rotation wasn't cut")
	}
	p.other.eventually("the rotation is finished", func() error {
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
			if r := owner.ctl("rotate"); r.status != 0 {
				t.Errorf("rotate: %s", r)
			}
		}
	})
	for n := range rounds {
		if r := other.ctl("generate", fmt.Sprintf("key-%d", n)); r.status != 0 {
			t.Errorf("generate %d: %s", n, r)
		}
	}
	working.Wait()
	other.ok("refresh")
	for n := range rounds {
		if r := other.ctl("show", fmt.Sprintf("key-%d", n)); r.status != 0 {
			t.Errorf("a key that was reported as saved: %s", r)
		}
	}
	members, deks := owner.stored(dir)
	if members.KEK() != rounds+1 || deks.KEK() != members.KEK() || len(deks.Heads()) != rounds+1 {
		t.Errorf("KEK %d, deks under %d with %d heads", members.KEK(), deks.KEK(), len(deks.Heads()))
	}
	owner.takeFile(other)
	owner.ok("refresh")
	var r struct{ Problems []string }
	for _, h := range []*home{owner, other} {
		h.json(&r, "vault", "verify")
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
	next := p.other.write("next", nextPassphrase)
	mend := p.cut(1, false, "s3:PutObject", "s3:GetObject")
	p.other.ok("generate", "offline")
	mend()
	p.other.fails(statusRefused, "saved on this device only", p.other.by("passphrase", "--new-passphrase-file", next)...)
	p.other.ok("refresh")
	p.other.ok(p.other.by("passphrase", "--new-passphrase-file", next)...)
	p.other.signs("shared")
	p.other.ok("show", "offline")
	p.both(t, "afterwards")
}

// TestPendingThroughARotation: a device that was cut off while a whole rotation
// went by pushes what it had saved, and loses nothing.
func TestPendingThroughARotation(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member")
	mend := p.cut(1, false, "s3:PutObject", "s3:GetObject")
	p.other.ok("generate", "offline")
	mend()
	p.owner.ok("rotate")
	p.owner.ok("rotate")
	p.other.ok("lock")
	p.other.unlock()
	p.other.ok("refresh")
	if v := p.other.vault(); v.Pending != 0 || v.KEKVersion != 3 {
		t.Errorf("after the refresh: %+v", v)
	}
	p.owner.takeFile(p.other)
	p.owner.ok("refresh")
	p.owner.ok("show", "offline")
	p.both(t, "afterwards")
}
