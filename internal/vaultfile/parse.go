package vaultfile

import (
	"bytes"
	"fmt"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Parse reads a vault file. If want isn't zero, the file must be that vault's.
// The error is an *Error or *VaultError if the file can't be used at all: too
// large, no header, an unknown version, another vault. Lines that can't be read
// are in Damaged. The result may alias data, which must not change afterwards.
func Parse(data []byte, want id.Vault) (*File, error) {
	if len(data) > MaxFile {
		return nil, &Error{0, StageSize, fmt.Sprintf("%d bytes, at most %d", len(data), MaxFile)}
	}
	vault, err := ParseHeader(data)
	if err != nil {
		return nil, err
	}
	if !want.IsZero() && vault != want {
		return nil, &VaultError{1, want, vault}
	}
	p := parser{file: empty(vault, len(data)/minLine), header: header(vault)}
	lines := canon.NewLines(data)
	lines.Next() // the header
	for {
		line, number, ended, ok := lines.Next()
		if !ok {
			break
		}
		if err := p.take(line, number, ended); err != nil {
			return nil, err
		}
	}
	p.file.sort()
	if p.file.Size() < len(data)/2 { // don't keep data alive for a small part of it
		return p.file.clone(), nil
	}
	return p.file, nil
}

// ParseHeader returns the vault id in a file's first line. It doesn't read the
// rest. Errors are those of Parse.
func ParseHeader(data []byte) (id.Vault, error) {
	lines := canon.NewLines(data)
	first, _, _, ok := lines.Next()
	if !ok {
		return id.Vault{}, &Error{0, StageHeader, "the file is empty"}
	}
	return parseHeader(first)
}

func parseHeader(line []byte) (vault id.Vault, err error) {
	if len(line) > MaxLine {
		return vault, &Error{1, StageHeader, "line 1 is not a vault file's"}
	}
	r := canon.NewReader(line)
	r.Literal(`{"vigil":"vault","version":`)
	version := r.Uint()
	if r.Err() == nil && version != Version {
		return vault, &Error{1, StageVersion, fmt.Sprintf("format version %d, want %d", version, Version)}
	}
	r.Literal(`,"vault":`)
	r.Fixed(vault[:])
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return vault, &Error{1, StageHeader, err.Error()}
	}
	return vault, nil
}

type parser struct {
	file   *File
	header []byte
}

// take reads one line after the first. It fails for the header of another
// vault, and when too many lines can't be read.
func (p *parser) take(line []byte, number int, ended bool) error {
	if bytes.Equal(line, p.header) {
		return nil // a union of two files repeats the header
	}
	if bytes.HasPrefix(line, []byte(`{"vigil":`)) {
		if other, err := parseHeader(line); err == nil && other != p.file.vault {
			return &VaultError{number, p.file.vault, other}
		}
	}
	parsed, err := parseLine(line)
	if err == nil {
		p.file.lines = append(p.file.lines, parsed)
		return nil
	}
	if len(p.file.damaged) == MaxDamaged {
		return &Error{number, StageSyntax, fmt.Sprintf("more than %d lines can't be read", MaxDamaged)}
	}
	p.file.damaged = append(p.file.damaged, LineError{
		Line: number, Item: itemOf(line), What: describe(line, ended, err), Bytes: bytes.Clone(line),
	})
	return nil
}

func describe(line []byte, ended bool, err error) string {
	switch {
	case len(line) == 0:
		return "empty line"
	case !ended:
		return "line is cut: " + err.Error()
	case bytes.HasPrefix(line, []byte("<<<<<<<")), bytes.HasPrefix(line, []byte("=======")), bytes.HasPrefix(line, []byte(">>>>>>>")):
		return "a merge conflict's marker; removing this line resolves it"
	case line[len(line)-1] == '\r':
		return "line ends with a carriage return"
	}
	return err.Error()
}

// itemOf returns the item that a damaged line begins with, or zero.
func itemOf(line []byte) (item id.Item) {
	var found id.Item
	r := canon.NewReader(line)
	r.Literal(`{"item":`)
	r.Fixed(found[:])
	if r.Err() == nil {
		item = found
	}
	return item
}

// sort sorts the lines and drops duplicates.
func (f *File) sort() {
	byText := func(a, b Line) int { return bytes.Compare(a.text, b.text) }
	if !slices.IsSortedFunc(f.lines, byText) {
		slices.SortFunc(f.lines, byText)
	}
	f.lines = slices.CompactFunc(f.lines, func(a, b Line) bool { return a.Sum == b.Sum })
}

// clone returns the file in memory of its own.
func (f *File) clone() *File {
	out := empty(f.vault, len(f.lines))
	for i := range f.lines {
		line, _ := parseLine(bytes.Clone(f.lines[i].text)) // f has it, so it is valid
		out.lines = append(out.lines, line)
	}
	out.damaged = f.damaged // parser.take has copied them
	return out
}

// empty returns a file without lines and with capacity for room of them.
func empty(vault id.Vault, room int) *File { return &File{vault: vault, lines: make([]Line, 0, room)} }

// parseLine reads one line without line feed. The result aliases it.
func parseLine(text []byte) (l Line, err error) {
	if len(text) > MaxLine {
		return l, fmt.Errorf("line is longer than %d bytes", MaxLine)
	}
	r := canon.NewReader(text)
	r.Literal(`{"item":`)
	r.Fixed(l.Item[:])
	r.Literal(`,"revision":`)
	r.Fixed(l.Revision[:])
	r.Literal(`,"parents":`)
	l.Parents = keyring.ReadParents(&r)
	r.Literal(`,"meta":`)
	l.meta = r.Encoded(minSealed, maxSealed)
	r.Literal(`,"secret":`)
	l.secret = r.Encoded(minSealed, maxSealed)
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return l, err
	}
	l.text, l.Sum = text, id.HashOf(text)
	return l, nil
}

// ParseLine reads one revision's line, with or without its line feed.
func ParseLine(line []byte) (Revision, error) {
	l, err := parseLine(bytes.TrimSuffix(line, []byte{'\n'}))
	if err != nil {
		return Revision{}, &LineError{Line: 0, What: err.Error()}
	}
	return l.Decode(), nil
}
