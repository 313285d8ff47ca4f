package main

import (
	"testing"

	"vigil/internal/control"
	"vigil/internal/words"
)

// TestVerdict: at 256 MiB and 3 passes a card makes some 400 guesses a second.
func TestVerdict(t *testing.T) {
	usual := control.KDF{MemoryMiB: 256, Time: 3}
	for _, tc := range []struct {
		bits float64
		cost control.KDF
		want string
	}{
		{0, usual, "weak: one graphics card guesses it in less than a second"},
		{10, usual, "weak: one graphics card guesses it in about 2 seconds"},
		{20, usual, "weak: one graphics card guesses it in about 40 minutes"},
		{22, usual, "weak: one graphics card guesses it in about 3 hours"},
		{26, usual, "weak: one graphics card guesses it in about 2 days"},
		{22, control.KDF{MemoryMiB: 1024, Time: 6}, "weak: one graphics card guesses it in about 20 hours"},
		{32, usual, "fair: one graphics card guesses it in about 4 months"},
		{40, usual, "fair: one graphics card guesses it in about 80 years"},
		{48, usual, "strong: one graphics card guesses it in about 20000 years"},
		{64, usual, "strong: one graphics card guesses it in more than a million years"},
		{1e6, usual, "strong: one graphics card guesses it in more than a million years"},
	} {
		if got := verdict(tc.bits, tc.cost); got != tc.want {
			t.Errorf("%v bits, %+v: %q, want %q", tc.bits, tc.cost, got, tc.want)
		}
	}
}

func TestSuggestedWordsHave64Bits(t *testing.T) {
	different := map[string]bool{}
	for _, word := range words.List {
		different[word] = true
		if len(word) >= 16 {
			t.Errorf("%q is longer than the room for it", word)
		}
	}
	if len(words.List) != 256 || len(different) != 256 || suggestedWords != 8 {
		t.Errorf("%d words, %d different", len(words.List), len(different))
	}
}
