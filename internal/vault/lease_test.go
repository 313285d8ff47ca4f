package vault

import "testing"

// TestAShareIsKnownByItsDigest: an answer other than the share that opened the vault
// proves nothing, until the share is replaced.
func TestAShareIsKnownByItsDigest(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		name            string
		seen            seenShare
		wrapped, digest string
		want            bool
	}{
		{"the one of the unlock", seenShare{b("w1"), b("d1")}, "w1", "d1", true},
		{"another answer", seenShare{b("w1"), b("d1")}, "w1", "d2", false},
		{"no digest", seenShare{b("w1"), b("d1")}, "w1", "", false},
		{"a new vault's", seenShare{}, "w1", "d1", true},
		{"a new vault's, without a digest", seenShare{}, "w1", "", false},
		{"a new share, of another passphrase", seenShare{b("w1"), b("d1")}, "w2", "d2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.seen.holds(b(c.wrapped), b(c.digest)); got != c.want {
				t.Fatal(got)
			}
			if c.want && (!c.seen.holds(b(c.wrapped), b(c.digest)) || c.seen.holds(b(c.wrapped), b("forged"))) {
				t.Error("what was seen isn't what counts next time")
			}
		})
	}
}
