// Package printable makes text of somebody else's choosing fit for a terminal, a
// log or a file of lines: comments of keys, names, error texts of services.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns text as one line: "?" stands for every character that doesn't print,
// such as line ends, controls (C0, DEL, C1), line separators, marks that turn the
// direction of text, and for bytes that aren't UTF-8.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// JSON returns encoded JSON with an escape for every character beyond ASCII's
// printable ones that doesn't print. The encoding escapes C0 controls, but neither
// DEL, C1 controls nor marks that turn the direction of text. Its value is the same.
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
