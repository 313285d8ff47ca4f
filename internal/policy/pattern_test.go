package policy

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		want          bool
	}{
		{"", "", true},
		{"a", "", false},
		{"", "*", true},
		{"", "?", false},
		{"root", "root", true},
		{"Root", "root", false},
		{"root", "roo", false},
		{"roo", "root", false},
		{"root", "r*t", true},
		{"root", "*", true},
		{"root", "**", true},
		{"root", "????", true},
		{"root", "???", false},
		{"root", "*o?", true},
		{"root", "*x*", false},
		{"db1.example.org", "*.example.org", true},
		{"example.org", "*.example.org", false},
		{"a,b", "a,b", true}, // no lists
		{"b", "a,b", false},
		{"!a", "!a", true}, // no negation
		{"a*", `a\*`, false},
		{"aXbXc", "a*b*c", true},
		{"abcbc", "a*bc", true},
	} {
		if got := Match(c.name, c.pattern); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.name, c.pattern, got)
		}
	}
}

func TestMatchStaysFastOnHostilePatterns(t *testing.T) {
	start := time.Now()
	if Match(strings.Repeat("a", 1<<16), strings.Repeat("*a", 128)+"b") {
		t.Fatal("matched")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Fatalf("took %v", d)
	}
}

// FuzzMatch compares with a regular expression of the same meaning.
func FuzzMatch(f *testing.F) {
	f.Add("root", "r*t")
	f.Add("abcbc", "a*b?")
	f.Add("", "*?")
	f.Fuzz(func(t *testing.T, name, pattern string) {
		if len(name) > 200 || len(pattern) > 64 {
			return
		}
		// One rune per byte, so that ? is one byte to both.
		latin := func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				b.WriteRune(rune(s[i]))
			}
			return b.String()
		}
		expr := regexp.QuoteMeta(latin(pattern))
		expr = strings.ReplaceAll(strings.ReplaceAll(expr, `\*`, `.*`), `\?`, `.`)
		want := regexp.MustCompile(`(?s)\A` + expr + `\z`).MatchString(latin(name))
		if got := Match(name, pattern); got != want {
			t.Fatalf("Match(%q, %q) = %v", name, pattern, got)
		}
	})
}
