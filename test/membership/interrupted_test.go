package membership

import (
	"fmt"
	"slices"
	"testing"

	"vigil/internal/keyring"
)

// maxCuts bounds how many requests of a command are cut: more than any has.
const maxCuts = 12

// pair is an owner's home and another one's, with a keyring in S3.
type pair struct {
	*cloud
	owner, other *home
}

// newPair makes them, with offline use off: what can't be stored fails.
func newPair(t *testing.T, role string) *pair {
	t.Helper()
	p := &pair{cloud: newCloud(t)}
	p.owner = newHome(t, ownerPassphrase, p.env...)
	p.owner.Start()
	p.owner.Found(p.bucket, "")
	p.owner.AddKey("shared")
	p.other = newHome(t, memberPassphrase, p.env...)
	p.other.TakeVaultFile(p.owner.Home)
	p.other.Start()
	p.owner.Admit(p.other.Request("--backend", p.bucket, "--name", "other"), role)
	p.other.Unlock()
	return p
}

// keyring is what S3 has.
func (p *pair) keyring() (*keyring.Members, *keyring.Deks) {
	p.owner.Helper()
	members, err := keyring.ParseMembers(p.s3.Object("team/members"), p.owner.VaultID())
	if err != nil {
		p.owner.Fatal(err)
	}
	deks, err := keyring.ParseDeks(p.s3.Object("team/deks"), p.owner.VaultID())
	if err != nil {
		p.owner.Fatal(err)
	}
	return members, deks
}

// everyCut runs a case for each request of a command at which the network can go
// away: before the first one, and after each was carried out and its answer lost,
// until the command gets through. To be cut before the next one is the same for
// everybody but the command.
func everyCut(t *testing.T, each func(t *testing.T, n int, after bool) (cut bool)) {
	t.Helper()
	run := func(n int, after bool) (cut bool) {
		t.Run(fmt.Sprintf("request %d, carried out %v", n, after), func(t *testing.T) { cut = each(t, n, after) })
		return cut && !t.Failed()
	}
	if !run(1, false) {
		t.Fatal("the command made no request that could be cut")
	}
	for n := 1; run(n, true); n++ {
		if n == maxCuts {
			t.Fatalf("not through after %d cuts", maxCuts)
		}
	}
}

// both checks that nothing was lost: both homes take what the backend has, sign,
// and what one adds the other gets.
func (p *pair) both(t *testing.T, stage string) {
	t.Helper()
	for _, h := range []*home{p.owner, p.other} {
		if r := h.Vigilctl("refresh"); r.Status != 0 {
			t.Fatalf("%s: refresh: %s", stage, r)
		}
		if err := h.Sign("shared"); err != nil {
			t.Fatalf("%s: %v", stage, err)
		}
	}
}

// TestRotationIsInterrupted cuts the network at every write of a rotation. The
// others go on, and the next rotation finishes it: it makes no KEK too many.
func TestRotationIsInterrupted(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member")
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		before, _ := p.keyring()
		mend := p.cut(n, after, "s3:PutObject")
		r := p.owner.Vigilctl("rotate")
		cut := mend()
		if cut && r.Status == 0 && !after {
			t.Errorf("it was cut and says: %s", r)
		}
		p.both(t, "after the cut")
		p.other.AddKey(fmt.Sprintf("between-%d-%v", n, after))
		p.owner.TakeVaultFile(p.other.Home)
		if r := p.owner.Vigilctl("rotate"); r.Status != 0 {
			t.Fatalf("rotate again: %s", r)
		}
		p.both(t, "after the rotation")
		members, deks := p.keyring()
		newest := members.KEK()
		if got := members.KEKs(); !slices.Equal(got, []uint64{newest}) || deks.KEK() != newest {
			t.Errorf("live KEKs %v, deks under %d", got, deks.KEK())
		}
		if newest > before.KEK()+2 {
			t.Errorf("KEK %d after KEK %d", newest, before.KEK())
		}
		return cut
	})
}

// TestRemovalIsInterrupted: the removal itself is one write; what is left of its
// rotation is finished by the same command, or by any rotation.
func TestRemovalIsInterrupted(t *testing.T) {
	t.Parallel()
	p := newPair(t, "member")
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		third := newHome(t, nextPassphrase, p.env...)
		third.TakeVaultFile(p.owner.Home)
		third.Start()
		r := third.Request("--backend", p.bucket)
		p.owner.Admit(r, "member")
		third.Unlock()
		mend := p.cut(n, after, "s3:PutObject")
		removed := p.owner.Vigilctl(p.owner.By("identity", "remove", r.Identity, "--yes")...)
		cut := mend()
		p.both(t, "after the cut")
		if removed.Status != 0 {
			if again := p.owner.Vigilctl(p.owner.By("identity", "remove", r.Identity, "--yes")...); again.Status != 0 {
				t.Fatalf("remove again: %s", again)
			}
		}
		p.owner.OK("rotate")
		p.both(t, "after the removal")
		third.Vigilctl("refresh")
		if third.Sign("shared") == nil {
			t.Error("the removed identity signs")
		}
		members, deks := p.keyring()
		if got := members.KEKs(); !slices.Equal(got, []uint64{members.KEK()}) || deks.KEK() != members.KEK() {
			t.Errorf("live KEKs %v, deks under %d", got, deks.KEK())
		}
		return cut
	})
}

// TestPassphraseIsInterrupted: after every cut exactly one of the two passphrases
// opens the vault, and it opens all of it.
func TestPassphraseIsInterrupted(t *testing.T) {
	for _, role := range []string{"owner", "member"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, role)
			h, now, next := p.other, memberPassphrase, nextPassphrase
			everyCut(t, func(t *testing.T, n int, after bool) bool {
				fresh := h.Write("next", next)
				mend := p.cut(n, after, "s3:PutObject")
				h.Vigilctl("passphrase", "--passphrase-file", h.Write("pass", now), "--new-passphrase-file", fresh)
				cut := mend()
				h.OK("lock")
				first, second := h.Vigilctl("unlock", "--passphrase-file", h.Pass), h.Vigilctl("unlock", "--passphrase-file", fresh)
				if first.Status != 0 {
					now, next = next, now
				}
				if (first.Status == 0) == (second.Status == 0 && first.Status != 0) {
					t.Fatalf("with the old passphrase: %s\nwith the new one: %s", first, second)
				}
				p.both(t, "after the cut")
				p.owner.OK("rotate")
				p.both(t, "after a rotation")
				return cut
			})
		})
	}
}
