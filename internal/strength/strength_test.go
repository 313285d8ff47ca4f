package strength

import (
	"strings"
	"testing"
)

// TestBits: the first are the examples of zxcvbn's authors, with their results.
func TestBits(t *testing.T) {
	for pass, want := range map[string][2]float64{
		"password":    {0, 3},
		"Tr0ub4dor&3": {36, 37}, // 10^11
		"qwertyuiop":  {0, 6},
		"xK9#mQ2$vL":  {33, 34}, // 10^10
		"acid lemon raven otter pizza quartz fame goat": {64, 200},
		strings.Repeat("correct horse ", 30):            {10, 60},
		strings.Repeat("a", 200):                        {0, 20},
		strings.Repeat("ä", 200):                        {60, 400}, // not seen as a repetition
		"":                                              {0, 0},
		"\xff\xfe":                                      {0, 0},
	} {
		if got := Bits([]byte(pass)); got < want[0] || got > want[1] {
			t.Errorf("%q: %.1f bits, want %v to %v", pass, got, want[0], want[1])
		}
	}
}
