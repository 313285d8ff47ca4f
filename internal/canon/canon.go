// Package canon reads and writes canonical JSON: one value has exactly one
// encoding, so that signatures, MACs and hashes cover stored bytes and two
// writers of the same fact write the same line.
//
// The rules (docs/vault-format.md, "Canonical JSON"): members in the order the
// format gives, no white space, byte strings as base64url without padding and
// with zero trailing bits, integers from 0 to 2^53-1 without leading zeros, text
// escaped as in RFC 8785 section 3.2.2.2. The caller tells a Reader what comes
// next, and it accepts nothing else. That is equivalent to decoding, re-encoding
// and comparing, in one pass.
package canon

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// MaxInt is the largest integer the format allows: the largest that every
// JSON implementation reads exactly.
const MaxInt = 1<<53 - 1

var encoding = base64.RawURLEncoding.Strict()

// Error reports where a line stops being canonical. It never quotes the line.
type Error struct {
	// At is the offset of the offending byte in the line, from 0.
	At int
	// What was expected there.
	What string
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: want %s", e.At, e.What) }

// Reader reads one canonical line. Errors are sticky: after the first one every
// method returns zero values, so a caller may read a whole line and check End once.
// The zero Reader reads an empty line.
type Reader struct {
	line []byte
	at   int
	err  *Error
}

// NewReader returns a Reader over line, which has no line end. It aliases line.
func NewReader(line []byte) Reader { return Reader{line: line} }

// Err returns the first error met, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// End returns the first error met, or an error if bytes are left.
func (r *Reader) End() error {
	if r.at != len(r.line) {
		r.Fail("the end of the line")
	}
	return r.Err()
}

// Fail records that the value read last doesn't conform to the format.
func (r *Reader) Fail(want string) {
	if r.err == nil {
		r.err = &Error{At: r.at, What: want}
	}
}

// Offset returns the offset of the next byte.
func (r *Reader) Offset() int { return r.at }

// Since returns the bytes read since offset from, aliasing the line.
func (r *Reader) Since(from int) []byte { return r.line[from:r.at:r.at] }

// Literal reads exactly s.
func (r *Reader) Literal(s string) {
	if !r.Try(s) && r.err == nil {
		r.Fail(strconv.Quote(s))
	}
}

// Try reads s if it comes next, and reports whether it did.
func (r *Reader) Try(s string) bool {
	if r.err != nil || len(r.line)-r.at < len(s) || string(r.line[r.at:r.at+len(s)]) != s {
		return false
	}
	r.at += len(s)
	return true
}

// quoted returns the text between the next two quotation marks, which must have at
// most limit characters.
func (r *Reader) quoted(limit int) []byte {
	if !r.Try(`"`) {
		r.Fail("a string")
		return nil
	}
	window := r.line[r.at:]
	if len(window) > limit+1 {
		window = window[:limit+1]
	}
	n := bytes.IndexByte(window, '"')
	if n < 0 {
		r.Fail(fmt.Sprintf("a string of at most %d characters", limit))
		return nil
	}
	return window[:n:n]
}

// Fixed reads a byte string of exactly len(dst) bytes into dst.
func (r *Reader) Fixed(dst []byte) {
	want := encoding.EncodedLen(len(dst))
	text := r.quoted(want)
	if r.err != nil {
		return
	}
	if len(text) != want {
		r.Fail(fmt.Sprintf("%d bytes as base64url", len(dst)))
		return
	}
	if _, ok := decode(dst[:0], text); !ok {
		r.Fail(fmt.Sprintf("%d bytes as base64url", len(dst)))
		return
	}
	r.at += len(text) + 1
}

// Bytes reads a byte string of minimum to limit bytes into fresh memory.
func (r *Reader) Bytes(minimum, limit int) []byte {
	text := r.quoted(encoding.EncodedLen(limit))
	if r.err != nil {
		return nil
	}
	b, ok := decode(make([]byte, 0, encoding.DecodedLen(len(text))), text)
	if !ok || len(b) < minimum {
		r.Fail(fmt.Sprintf("%d to %d bytes as base64url", minimum, limit))
		return nil
	}
	r.at += len(text) + 1
	return b
}

// Encoded reads a byte string as Bytes does, but returns its base64url, which aliases
// the line. [Decode] decodes it.
func (r *Reader) Encoded(minimum, limit int) []byte {
	text := r.quoted(encoding.EncodedLen(limit))
	if r.err != nil {
		return nil
	}
	n := encoding.DecodedLen(len(text))
	if !canonical(text) || n < minimum {
		r.Fail(fmt.Sprintf("%d to %d bytes as base64url", minimum, limit))
		return nil
	}
	r.at += len(text) + 1
	return text
}

// alphabet has a bit for each character of base64url, 64 to an element.
var alphabet = [4]uint64{0x03ff2000_00000000, 0x07fffffe_87fffffe}

// canonical reports whether text is what some bytes encode to. It takes a sixth of the time
// that decoding takes: a vault file of thousands of lines is read after each change.
func canonical(text []byte) bool {
	all := uint64(1)
	for _, c := range text {
		all &= alphabet[c>>6] >> (c & 63) // without a branch
	}
	last := text[len(text)/4*4:] // only its last character can have bits that mean nothing
	_, ok := decode(make([]byte, 0, 2), last)
	return ok && all&1 == 1
}

// Decode returns the bytes of a text that Encoded returned, in fresh memory.
func Decode(text []byte) []byte {
	b, _ := decode(make([]byte, 0, encoding.DecodedLen(len(text))), text)
	return b
}

// decode decodes text into the room of dst, and reports whether it is canonical.
func decode(dst, text []byte) (b []byte, ok bool) {
	b = dst[:encoding.DecodedLen(len(text))]
	n, err := encoding.Decode(b, text)
	// Decode skips line ends, so only a full count shows that there were none.
	return b[:n], err == nil && n == len(b) && encoding.EncodedLen(n) == len(text)
}

// Uint reads an integer from 0 to MaxInt.
func (r *Reader) Uint() uint64 {
	start, n := r.at, uint64(0)
	at := start
	for at < len(r.line) && at-start < 16 && r.line[at] >= '0' && r.line[at] <= '9' {
		n = n*10 + uint64(r.line[at]-'0')
		at++
	}
	digits := at - start
	if r.err != nil || digits == 0 || n > MaxInt || (digits > 1 && r.line[start] == '0') {
		r.Fail("an integer below 2^53 without leading zeros")
		return 0
	}
	r.at = at
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	if r.Try("true") {
		return true
	}
	r.Literal("false")
	return false
}

// Token reads a string of 1 to limit printable ASCII characters other than
// space, quotation mark and backslash, which therefore needs no escapes.
func (r *Reader) Token(limit int) string {
	text := r.quoted(limit)
	if r.err != nil {
		return ""
	}
	if !IsToken(string(text), limit) {
		r.Fail("a name in printable ASCII")
		return ""
	}
	r.at += len(text) + 1
	return string(text)
}

// IsToken reports whether Token would read s.
func IsToken(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Text reads a string of at most limit bytes of UTF-8, escaped as in RFC 8785: \"
// \\ \b \t \n \f \r, \u00xx in lower case for the other characters below U+0020,
// and everything else as itself.
func (r *Reader) Text(limit int) string {
	if !r.Try(`"`) {
		r.Fail("a string")
		return ""
	}
	start := r.at
	for r.at < len(r.line) && r.line[r.at] >= ' ' && r.line[r.at] <= '~' && r.line[r.at] != '"' && r.line[r.at] != '\\' {
		r.at++
	}
	// Most text is ASCII without escapes, which is canonical as it is.
	if r.at < len(r.line) && r.line[r.at] == '"' && r.at-start <= limit {
		r.at++
		return string(r.line[start : r.at-1])
	}
	out := slices.Clone(r.line[start:r.at])
	for r.at < len(r.line) && len(out) <= limit {
		c := r.line[r.at]
		switch {
		case c == '"':
			if !utf8.Valid(out) || !bytes.Equal(AppendText(nil, string(out))[1:], r.line[start:r.at+1]) {
				r.Fail("canonical text in UTF-8")
				return ""
			}
			r.at++
			return string(out)
		case c == '\\':
			out = r.unescape(out)
		default:
			out = append(out, c)
			r.at++
		}
		if r.err != nil {
			return ""
		}
	}
	r.Fail(fmt.Sprintf("text of at most %d bytes", limit))
	return ""
}

// unescape reads one escape. Text checks afterwards that it was needed.
func (r *Reader) unescape(out []byte) []byte {
	rest := r.line[r.at:]
	if len(rest) >= 6 && string(rest[:4]) == `\u00` {
		n, err := strconv.ParseUint(string(rest[4:6]), 16, 8)
		if err == nil && n < ' ' {
			r.at += 6
			return append(out, byte(n))
		}
	}
	if len(rest) >= 2 {
		if i := bytes.IndexByte([]byte(escapeNames), rest[1]); i >= 0 {
			r.at += 2
			return append(out, escaped[i])
		}
	}
	r.Fail("an escape")
	return out
}

// escaped and escapeNames pair the characters that have a short escape with
// the letter that names them.
const (
	escaped     = "\"\\\b\t\n\f\r"
	escapeNames = `"\btnfr`
)

// AppendText appends s as a JSON string. s must be valid UTF-8.
func AppendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		short := bytes.IndexByte([]byte(escaped), c)
		switch {
		case short >= 0:
			dst = append(dst, '\\', escapeNames[short])
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// AppendBytes appends b as a JSON string in base64url.
func AppendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = encoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// AppendUint appends n, which must not be above MaxInt.
func AppendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// AppendToken appends s, for which IsToken must hold, as a JSON string.
func AppendToken(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
