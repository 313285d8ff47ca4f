package prompt

import (
	"errors"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	for typed, want := range map[string]string{
		"correct horse\r":                     "correct horse",
		"\n":                                  "",
		"a\x7f\x7fb\r":                        "b",
		"pässwörd\x7f\x7f\x7f\x08\r":          "päss",
		"käse\x15wurst\r":                     "wurst",
		"a\tb\r":                              "a\tb",
		"a\x00\x01\x07\x0b\x1ab\r":            "ab",
		"a\x1b[Ab\x1b[1;5Dc\x1bOPd\x1b[200~e": "abcde",
		"\x1b\x1b[Ax\r":                       "[Ax", // ESC ESC is a key of its own
		"ab\x04c\r":                           "abc",
		"\xff\xfe\r":                          "\xff\xfe",
	} {
		l := &line{b: make([]byte, 64)}
		done, err := l.take([]byte(typed))
		if got := string(l.b[:l.n]); got != want || err != nil || done != strings.ContainsAny(typed, "\r\n") {
			t.Errorf("%q: got %q, %v, %v; want %q", typed, got, done, err, want)
		}
	}
	for typed, want := range map[string]error{"half\x03": ErrDeclined, "\x04": ErrDeclined, "x\x7f\x04": ErrDeclined, strings.Repeat("x", 65): ErrTooLong} {
		l := &line{b: make([]byte, 64)}
		if done, err := l.take([]byte(typed)); done || !errors.Is(err, want) {
			t.Errorf("%q: got %v, %v; want %v", typed, done, err, want)
		}
	}
}

// What is erased leaves nothing behind.
func TestErasedCharactersAreWiped(t *testing.T) {
	l := &line{b: make([]byte, 16)}
	_, _ = l.take([]byte("sécret\x7f\x7f\x7f\x7f\x7f\x15"))
	if string(l.b) != strings.Repeat("\x00", 16) {
		t.Errorf("left: %q", l.b)
	}
}

// Whatever is typed, a line holds no control character but the tab.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"correct horse\r", "\x1b[200~paste\x1b[201~\r", "ä\x7f\x7f", "a\x15b\x04", "\x1bO\x1b[\x7f~"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, typed []byte) {
		l := &line{b: make([]byte, 32)}
		_, _ = l.take(typed)
		for i, c := range l.b {
			if i < l.n && (c < ' ' && c != keyTab || c == keyDelete) || i >= l.n && c != 0 {
				t.Fatalf("%q makes %q, %d bytes long", typed, l.b, l.n)
			}
		}
	})
}
