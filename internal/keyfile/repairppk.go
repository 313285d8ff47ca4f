package keyfile

import (
	"bytes"
	"fmt"
	"strconv"

	"vigil/internal/guard"
)

// ppkFields are the fields of a .ppk after its first, in their order.
var ppkFields = [...]struct {
	name     string
	optional bool
}{
	{"Encryption", false},
	{"Comment", false},
	{"Public-Lines", false},
	{"Key-Derivation", true},
	{"Argon2-Memory", true},
	{"Argon2-Passes", true},
	{"Argon2-Parallelism", true},
	{"Argon2-Salt", true},
	{"Private-Lines", false},
	{"Private-MAC", false},
}

// repairPPK returns the only .ppk in data, each of its fields and each of its
// blobs on one line.
func repairPPK(data []byte) (*repaired, error) {
	if bytes.Count(data, []byte(ppkMagic)) > 1 {
		return nil, ErrMultipleKeys
	}
	// Each value's place. The comment can hold what looks like a field. So fields
	// before it are searched from the start, and those behind it from the end.
	var from, to [len(ppkFields)]int
	end := len(data)
	for i := len(ppkFields) - 1; i >= 0; i-- {
		name := []byte(ppkFields[i].name + ":")
		at := bytes.LastIndex(data[:end], name)
		if i < 2 {
			at = bytes.Index(data[:end], name)
		}
		if at < 0 && !ppkFields[i].optional {
			return nil, damaged(".ppk: the line with " + ppkFields[i].name + " is missing or incomplete; copy the whole file")
		}
		if at >= 0 {
			from[i], to[i], end = at+len(name), end, at
		}
	}
	start := bytes.Index(data, []byte(ppkMagic)) + len(ppkMagic)
	if start > end {
		return nil, damaged(".ppk: the fields aren't in their order")
	}
	version, keyType, _ := bytes.Cut(data[start:end], []byte(":"))
	out := make([]byte, 0, len(data)+512) // room for line ends, counts and padding
	out = append(appendToken(append(out, ppkMagic...), version), ": "...)
	out = append(appendToken(out, keyType), '\n')
	r := &repaired{}
	for i, f := range ppkFields {
		if from[i] == 0 {
			continue
		}
		value := data[from[i]:to[i]]
		out = append(append(out, f.name...), ": "...)
		switch f.name {
		case "Comment":
			out = append(out, ppkComment(value)...)
		case "Public-Lines", "Private-Lines":
			var err error
			if out, err = r.appendBlob(out, f.name, value, lineOf(data, from[i])); err != nil {
				guard.Wipe(out)
				return nil, err
			}
		default:
			out = appendToken(out, value)
		}
		out = append(out, '\n')
	}
	r.text = out
	return r, nil
}

// ppkComment returns the comment at the start of what is between "Comment:" and the
// next field, as it is: the MAC covers it.
func ppkComment(value []byte) []byte {
	for _, blank := range []string{" ", "\u00a0"} {
		if after, ok := bytes.CutPrefix(value, []byte(blank)); ok {
			value = after
			break
		}
	}
	if i := bytes.IndexAny(value, "\r\n\u0085\u2028\u2029"); i >= 0 {
		return value[:i]
	}
	// The whole file is on one line: with blanks or with escapes for line ends.
	value = bytes.TrimRight(value, " \t\u00a0")
	for _, end := range []string{"n", "r"} {
		if cut, ok := bytes.CutSuffix(value, []byte(`\`+end)); ok {
			value = bytes.TrimRight(cut, `\`)
		}
	}
	return value
}

// ppkLine is the length of a .ppk's lines of base64, in characters.
const ppkLine = 64

// appendBlob appends the count and the base64 of a blob. line is the number of the
// line that value starts in.
func (r *repaired) appendBlob(out []byte, name string, value []byte, line int) ([]byte, error) {
	plain := plainText(value)
	defer guard.Wipe(plain)
	word, body := cutToken(plain)
	count, err := strconv.ParseUint(string(word), 10, 16)
	if err != nil {
		return out, damaged(".ppk: " + name)
	}
	out = append(out, "1\n"...)
	start := len(out)
	line += bytes.Count(plain[:len(plain)-len(body)], []byte("\n"))
	out, odd, err := joinBase64(out, body, line)
	if err != nil {
		return out, err
	}
	if lines := (len(out) - start + ppkLine - 1) / ppkLine; uint64(lines) != count {
		return out, damaged(fmt.Sprintf(".ppk: %s: the text doesn't have the %d lines that it should have", name, count))
	}
	if r.oddLine == 0 {
		r.oddLine = odd
	}
	return out, nil
}

// appendToken appends the first word of value, without quotes.
func appendToken(out, value []byte) []byte {
	plain := plainText(value)
	defer guard.Wipe(plain)
	word, _ := cutToken(plain)
	return append(out, word...)
}

// cutToken returns the first word of plain, without quotes, and what follows it.
func cutToken(plain []byte) (word, rest []byte) {
	const separators = " >\"'\n"
	plain = bytes.TrimLeft(plain, separators)
	if i := bytes.IndexAny(plain, separators); i >= 0 {
		return plain[:i], plain[i:]
	}
	return plain, nil
}

// lineOf returns the number of the line that data[at] is in.
func lineOf(data []byte, at int) int {
	plain := plainText(data[:at])
	defer guard.Wipe(plain)
	return 1 + bytes.Count(plain, []byte("\n"))
}
