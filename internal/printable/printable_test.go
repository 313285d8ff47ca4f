package printable

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode"
)

// hostile has a character of every kind that commands a terminal or makes a line.
const hostile = "a\nb\rc\td\x1b[2Je\x00f\x7fg\u0085h\u009bi\u2028j\u2029k\u202el\u2066m\u200dn\ufeffo\U000e0001p\xffq"

func TestLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" Zoë 鍵 ", " Zoë 鍵 "},
		{hostile, "a?b?c?d?[2Je?f?g?h?i?j?k?l?m?n?o?p?q"},
	} {
		if got := Line(c.text); got != c.want {
			t.Errorf("Line(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

// TestJSONSaysTheSame in characters that all print.
func TestJSONSaysTheSame(t *testing.T) {
	for _, text := range []string{"", "Zoë 鍵 <&>", hostile} {
		encoded, err := json.Marshal(map[string]string{text: text})
		if err != nil {
			t.Fatal(err)
		}
		got := JSON(encoded)
		if i := strings.IndexFunc(string(got), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q has what doesn't print at %d", got, i)
		}
		var before, after map[string]string
		if err := json.Unmarshal(encoded, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil || len(after) != 1 {
			t.Fatalf("%s: %v", got, err)
		}
		for k, v := range before {
			if after[k] != v {
				t.Errorf("%q became %q", v, after[k])
			}
		}
	}
}

func TestWordIsOneWordOfAShell(t *testing.T) {
	for _, text := range []string{"", "/home/ana/bin", "/home/ana b/it's", "a\nb", "$HOME `id` \"x\" \\ !", "~", "-x", "ü"} {
		got, err := exec.Command("sh", "-c", "printf %s "+Word(text)).Output()
		if err != nil || string(got) != text {
			t.Errorf("%q is %q to a shell (%v)", text, got, err)
		}
	}
	if got := Word("/home/ana/bin"); got != "/home/ana/bin" {
		t.Errorf("a path without blanks becomes %s", got)
	}
}
