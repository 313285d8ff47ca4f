package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"vigil/internal/guard"
)

// parseRepaired reads data, which parseText found not to be a key or damaged with
// the error found, once more as the file it was before it was copied and pasted. It
// returns found if nothing is to be repaired.
func parseRepaired(data []byte, ask func() ([]byte, error), found error) (*Key, error) {
	r, err := repair(data)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, found
	}
	defer guard.Wipe(r.text)
	k, err := parseText(r.text, ask)
	if errors.Is(err, ErrDamaged) && r.oddLine > 0 {
		return nil, fmt.Errorf("%w; line %d isn't as long as the others, so text may be missing there", err, r.oddLine)
	}
	return k, err
}

// A repaired is the text of a key file with its accidents undone. Whoever holds it
// wipes it.
type repaired struct {
	text    []byte
	oddLine int // the first line of another length than those before it, if it isn't the last; or 0
}

// repair undoes what happens to the text of a key file on its way through mails,
// chats, forms, settings and word processors, as far as what is left has only one
// meaning. It returns nil if data isn't the text of a private key, and an error
// that says what is wrong with the lines if they don't make a whole file. Every
// step takes time and memory in proportion to data.
func repair(data []byte) (*repaired, error) {
	if text := fromUTF16(data); text != nil {
		defer guard.Wipe(text)
		data = text
	}
	plain := plainText(data)
	defer func() { guard.Wipe(plain) }()
	if text := fromBase64(plain); text != nil {
		defer guard.Wipe(text)
		if bytes.HasPrefix(text, []byte(opensshMagic)) {
			return nil, damaged("the lines with BEGIN and END are missing; copy the whole file")
		}
		guard.Wipe(plain)
		data, plain = text, plainText(text)
	}
	if bytes.Contains(data, []byte(ppkMagic)) {
		return repairPPK(data)
	}
	return repairPEM(plain)
}

// fromUTF16 returns the text of UTF-16, or nil if data isn't that.
func fromUTF16(data []byte) []byte {
	if len(data) < 2 {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch bom := binary.BigEndian.Uint16(data); {
	case bom == 0xfeff, bom > 0 && bom < utf8.RuneSelf:
		order = binary.BigEndian
	case bom != 0xfffe && (bom&0xff != 0 || bom == 0):
		return nil
	}
	text := make([]byte, 0, len(data)/2*utf8.UTFMax)
	for ; len(data) >= 2; data = data[2:] {
		r := rune(order.Uint16(data))
		if utf16.IsSurrogate(r) && len(data) >= 4 {
			r = utf16.DecodeRune(r, rune(order.Uint16(data[2:])))
			data = data[2:]
		}
		text = utf8.AppendRune(text, r)
	}
	return text
}

// plainText returns text with LF as its only line end and space as its only blank,
// without what is invisible, with plain quotes and dashes, and without the escapes of
// strings in JSON and source code.
func plainText(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\\':
			r, n = unescape(text)
		case bytes.HasPrefix(text, []byte("\r\n")):
			r, n = '\n', 2
		case r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			r = '\n'
		case r == utf8.RuneError && n == 1:
			if text[0] != 0xa0 { // a no-break space in the code pages of Windows and Latin
				out, text = append(out, text[0]), text[1:]
				continue
			}
			r = ' '
		case r == '\n':
		case unicode.IsSpace(r):
			r = ' '
		case unicode.Is(unicode.Cf, r): // zero width, byte order mark, soft hyphen
			r = -1
		case unicode.Is(unicode.Pd, r), r == '\u2212':
			r = '-'
		case unicode.In(r, unicode.Pi, unicode.Pf), r == '\u201e', r == '`':
			r = '"'
		}
		if r >= 0 {
			out = utf8.AppendRune(out, r)
		}
		text = text[n:]
	}
	return out
}

// unescape returns what the escape at the start of text stands for, or -1 for
// nothing, and the escape's length. Text that was escaped twice has two backslashes.
func unescape(text []byte) (rune, int) {
	n := len(text) - len(bytes.TrimLeft(text, `\`))
	if n == len(text) {
		return '\\', n
	}
	switch c := text[n]; c {
	case 'n', 'r', '\n', '\r':
		return '\n', n + 1
	case 't':
		return ' ', n + 1
	case '/', '"', '\'':
		return rune(c), n + 1
	case 'u': // \u002b and \u003d are "+" and "=" where JSON may stand in HTML
		var v [2]byte
		if len(text) >= n+5 {
			if _, err := hex.Decode(v[:], text[n+1:n+5]); err == nil && v[0] == 0 && v[1] < utf8.RuneSelf {
				return rune(v[1]), n + 5
			}
		}
	}
	return '\\', n
}

// fromBase64 returns the key file that plain is the base64 of, or the binary part of
// an OpenSSH file whose first and last line are missing, or nil.
func fromBase64(plain []byte) []byte {
	digits := make([]byte, 0, len(plain)+3)
	defer func() { guard.Wipe(digits) }()
	for _, c := range bytes.TrimRight(plain, "= \n\"'") {
		switch {
		case isBase64(c):
			digits = append(digits, c)
		case c != ' ' && c != '\n' && c != '"' && c != '\'':
			return nil
		}
	}
	text, err := base64.RawStdEncoding.AppendDecode(make([]byte, 0, len(digits)), digits)
	if err == nil {
		for _, start := range []string{"-----BEGIN ", ppkMagic, opensshMagic} {
			if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(start)) {
				return text
			}
		}
	}
	guard.Wipe(text)
	return nil
}

func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

// bareLine returns a line without what quotes it: indentation, the marks of a
// quoted mail, and the quotes and operators of source code.
func bareLine(line []byte) []byte {
	line = bytes.Trim(line, " >")
	if len(line) == 0 || line[0] != '"' && line[0] != '\'' {
		return line
	}
	quote := line[0]
	line = line[1:]
	if end := bytes.LastIndexByte(line, quote); end >= 0 {
		return line[:end]
	}
	if len(bytes.Trim(line, " +,;.&()")) == 0 { // the end of a line of source code
		return nil
	}
	return line
}

// joinBase64 appends to out the digits in the lines of plain, padded. first is the
// number of plain's first line in the file, for errors. It returns the number of the
// odd line.
func joinBase64(out, plain []byte, first int) (_ []byte, oddLine int, err error) {
	start, width, short := len(out), 0, 0
	ended := false
	number := first - 1
	for line := range bytes.Lines(plain) {
		number++
		line = bareLine(bytes.TrimSuffix(line, []byte("\n")))
		digits := 0
		for _, c := range line {
			switch {
			case c == '=':
				ended = true
			case c == ' ':
			case !isBase64(c):
				return out, 0, damaged(fmt.Sprintf("line %d has a character that is in no key", number))
			case ended:
				return out, 0, damaged(fmt.Sprintf("line %d follows the end of the key", number))
			default:
				out = append(out, c)
				digits++
			}
		}
		switch {
		case digits == 0:
		case width == 0:
			width = digits
		case short > 0 && oddLine == 0: // a line that wasn't the last
			oddLine = short
		case digits != width && short == 0:
			short = number
		}
	}
	switch (len(out) - start) % 4 {
	case 1:
		return out, oddLine, damaged("a character of the key is missing, or there is one too many")
	case 2:
		out = append(out, "=="...)
	case 3:
		out = append(out, '=')
	}
	return out, oddLine, nil
}
