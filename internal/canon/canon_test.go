package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestReaderAcceptsOneSpelling(t *testing.T) {
	fixed := func(r *Reader) { r.Fixed(make([]byte, 4)) }
	some := func(r *Reader) { r.Bytes(1, 8) }
	number := func(r *Reader) { r.Uint() }
	token := func(r *Reader) { r.Token(8) }
	text := func(r *Reader) { r.Text(8) }
	yes := func(r *Reader) { r.Bool() }
	tests := []struct {
		name string
		read func(*Reader)
		line string
		ok   bool
	}{
		{"four bytes", fixed, `"AAECAw"`, true},
		{"url alphabet", fixed, `"__-_-w"`, true},
		{"standard alphabet", fixed, `"//+/+w"`, false},
		{"padded", fixed, `"AAECAw=="`, false},
		{"trailing bits", fixed, `"AAECAx"`, false},
		{"too short", fixed, `"AAEC"`, false},
		{"too long", fixed, `"AAECAwQ"`, false},
		{"line end inside", fixed, "\"AAECA\rw\"", false},
		{"no quotation mark", fixed, `"AAECAw`, false},
		{"bytes", some, `"AAEC"`, true},
		{"bytes with a line end inside", some, "\"AA\nEC\"", false},
		{"bytes with only line ends", some, "\"\n\n\"", false},
		{"impossible length", some, `"AAECA"`, false},
		{"too few bytes", some, `""`, false},
		{"too many bytes", some, `"AAECAwQFBgcI"`, false},
		{"zero", number, `0`, true},
		{"largest integer", number, `9007199254740991`, true},
		{"2^53", number, `9007199254740992`, false},
		{"17 digits", number, `10000000000000000`, false},
		{"leading zero", number, `01`, false},
		{"negative", number, `-1`, false},
		{"fraction", number, `1.0`, false},
		{"exponent", number, `1e3`, false},
		{"no digits", number, ``, false},
		{"token", token, `"awskms"`, true},
		{"token too long", token, `"awskms.no"`, false},
		{"empty token", token, `""`, false},
		{"token with a space", token, `"aws kms"`, false},
		{"token with an escape", token, `"aws\u006b"`, false},
		{"token beyond ASCII", token, `"käse"`, false},
		{"text", text, `"Käse"`, true},
		{"empty text", text, `""`, true},
		{"text of eight bytes", text, `"12345678"`, true},
		{"text of nine bytes", text, `"123456789"`, false},
		{"short escapes", text, `"\"\\\b\t\n\f\r"`, true},
		{"long escape", text, `"\u0000\u001f"`, true},
		{"upper case escape", text, `"\u001F"`, false},
		{"long for short", text, `"\u000a"`, false},
		{"needless escape", text, `"\u0041"`, false},
		{"escaped slash", text, `"\/"`, false},
		{"control character", text, "\"\x01\"", false},
		{"not UTF-8", text, "\"\xff\"", false},
		{"surrogate", text, "\"\xed\xa0\x80\"", false},
		{"cut escape", text, `"\u00`, false},
		{"cut text", text, `"abc`, false},
		{"true", yes, `true`, true},
		{"false", yes, `false`, true},
		{"yes", yes, `yes`, false},
		{"white space before", number, ` 1`, false},
		{"white space behind", number, `1 `, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader([]byte(tt.line))
			tt.read(&r)
			err := r.End()
			if (err == nil) != tt.ok {
				t.Fatalf("read %q: %v", tt.line, err)
			}
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("error is %T", err)
			}
		})
	}
}

func TestErrorsStickAndSayWhere(t *testing.T) {
	r := NewReader([]byte(`{"a":1,"c":2}`))
	r.Literal(`{"a":`)
	r.Uint()
	r.Literal(`,"b":`)
	if r.Uint() != 0 || r.Token(9) != "" || r.Text(9) != "" || r.Bytes(0, 9) != nil {
		t.Fatal("a value after an error")
	}
	var e *Error
	if !errors.As(r.End(), &e) || e.At != 6 || !strings.Contains(e.What, `b`) {
		t.Fatalf("error is %v", r.End())
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "Käse \"\\\n\x00\x1f\x7f", "\u2028<>&", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := AppendText(nil, s)
		r := NewReader(line)
		got := r.Text(len(s))
		if r.End() != nil {
			if json.Valid(line) && strings.ToValidUTF8(s, "") == s {
				t.Fatalf("%q isn't read back: %v", s, r.End())
			}
			return
		}
		var other string
		if err := json.Unmarshal(line, &other); err != nil || other != got || got != s {
			t.Fatalf("%q read as %q, by encoding/json as %q (%v)", s, got, other, err)
		}
	})
}

func TestLines(t *testing.T) {
	lines := NewLines([]byte("a\n\nb"))
	want := []struct {
		line  string
		ended bool
	}{{"a", true}, {"", true}, {"b", false}}
	for i, w := range want {
		line, n, ended, ok := lines.Next()
		if !ok || n != i+1 || ended != w.ended || !bytes.Equal(line, []byte(w.line)) {
			t.Fatalf("line %d is %q, ended %v, ok %v", n, line, ended, ok)
		}
	}
	if _, _, _, ok := lines.Next(); ok {
		t.Fatal("a line after the last")
	}
}

// TestEncodedTakesWhatBytesTakes, with every character at every place of short texts.
func TestEncodedTakesWhatBytesTakes(t *testing.T) {
	for length := range 10 {
		for at := range max(length, 1) {
			for c := range 256 {
				text := bytes.Repeat([]byte("A"), length)
				if at < length {
					text[at] = byte(c)
				}
				line := slices.Concat([]byte(`"`), text, []byte(`"`))
				decoded, raw := NewReader(line), NewReader(line)
				want, got := decoded.Bytes(1, 6), raw.Encoded(1, 6)
				if (decoded.End() == nil) != (raw.End() == nil) || !bytes.Equal(want, Decode(got)) {
					t.Fatalf("%q: Bytes returns %x, %v; Encoded %q, %v", line, want, decoded.Err(), got, raw.Err())
				}
			}
		}
	}
}
