// Package printable makes untrusted text, such as key comments, names and error
// texts of services, fit for a terminal, a log or a file of lines.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns text as one line. It replaces unprintable characters, such as line
// ends, controls (C0, DEL, C1), line separators and bidirectional controls, and bytes
// that aren't UTF-8, with "?".
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// Word returns text as one word of a POSIX shell, for a command that a message
// recommends. It quotes only what needs it.
func Word(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// JSON returns encoded JSON with escapes for all unprintable characters. The encoder
// escapes C0 controls, but not DEL, C1 controls and bidirectional controls. The value
// stays the same.
func JSON(encoded []byte) []byte {
	out := make([]byte, 0, len(encoded))
	for len(encoded) > 0 {
		r, n := utf8.DecodeRune(encoded)
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			out = append(out, encoded[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		encoded = encoded[n:]
	}
	return out
}
