package refresh

import (
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name           string
		outcome        Outcome
		caller, before string
		want           Verdict
	}{
		{"the master key decrypted the share", Proved, "", "role/a", Verdict{Renew: true}},
		{"the backend alone answered: nothing is proved, and no denial forgotten", Reached, "", "role/a", Verdict{Denied: "role/a"}},
		{"no network", Unreachable, "", "", Verdict{}},
		{"no network after a denial: it isn't forgotten", Unreachable, "", "role/a", Verdict{Denied: "role/a"}},
		{"denied the first time: a wrong profile must not cost the share", Denied, "role/a", "", Verdict{Lock: true, Denied: "role/a"}},
		{"denied as another caller", Denied, "role/b", "role/a", Verdict{Lock: true, Denied: "role/b"}},
		{"denied again", Denied, "role/a", "role/a", Verdict{Lock: true, Forget: true, Denied: "role/a"}},
		{"denied twice by a service that doesn't say whom", Denied, "", "unknown", Verdict{Lock: true, Forget: true, Denied: "unknown"}},
		{"revoked", Revoked, "", "", Verdict{Lock: true, Forget: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Decide(c.outcome, c.caller, c.before); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestNextStaysNearAndVaries(t *testing.T) {
	const every = 5 * time.Minute
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := Next(every)
		if d < every*79/100 || d > every*121/100 {
			t.Fatalf("%v is too far from %v", d, every)
		}
		seen[d] = true
	}
	if len(seen) < 100 {
		t.Fatalf("only %d different times", len(seen))
	}
}

// TestProofsAreNoFurtherApart: a refresh just before a check is due leaves it to
// the next one.
func TestProofsAreNoFurtherApart(t *testing.T) {
	const check, every = 30 * time.Minute, 5 * time.Minute
	furthest := Furthest(check, every)
	for range 1000 {
		at := time.Duration(0)
		for at < check {
			at += Next(every)
		}
		if at > furthest {
			t.Fatalf("%v between two proofs, want %v at most", at, furthest)
		}
	}
}
