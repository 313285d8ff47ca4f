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
func Parse(data []byte, want id.Vault) (*File, error) { return parseWith(data, want, &File{}) }

// Parse is like the function [Parse], but reuses the lines that f has too: if the
// file differs from f in a few lines, it parses only those.
func (f *File) Parse(data []byte, want id.Vault) (*File, error) { return parseWith(data, want, f) }

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

func parseWith(data []byte, want id.Vault, known *File) (*File, error) {
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
	count := max(len(data)/minLine, len(known.lines))
	p := parser{
		file: empty(vault, count), header: header(vault), known: cursor{file: known}, own: len(known.lines) > 0,
	}
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
	if !p.own && p.file.Size() < len(data)/2 { // don't keep data alive for a small part of it
		for i, line := range p.file.lines {
			p.file.lines[i] = bytes.Clone(line)
		}
	}
	return p.file, nil
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
	known  cursor
	own    bool // copy new lines, so that a few of them don't keep all of the data in memory
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
	if at, ok := p.known.find(line); ok {
		p.file.push(p.known.file, at)
		return nil
	}
	rev, err := parseRevision(line)
	if err == nil {
		if p.own {
			line = bytes.Clone(line)
		}
		p.file.add(rev, line)
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

// cursor walks along the lines of a file while another file with nearly the same
// lines is parsed.
type cursor struct {
	file *File
	at   int
}

// find returns the index of a line.
func (c *cursor) find(line []byte) (at int, ok bool) {
	lines := c.file.lines
	if c.at >= len(lines) || !bytes.Equal(lines[c.at], line) {
		at, found := slices.BinarySearchFunc(lines, line, bytes.Compare)
		if !found {
			return 0, false
		}
		c.at = at
	}
	c.at++
	return c.at - 1, true
}

// push appends a revision of another file.
func (f *File) push(from *File, at int) {
	f.revisions, f.lines, f.sums = append(f.revisions, from.revisions[at]), append(f.lines, from.lines[at]), append(f.sums, from.sums[at])
}

// add appends a revision with its line.
func (f *File) add(rev Revision, line []byte) {
	f.revisions, f.lines, f.sums = append(f.revisions, rev), append(f.lines, line), append(f.sums, id.HashOf(line))
}

// sort sorts the revisions by their lines and drops duplicates.
func (f *File) sort() {
	inOrder := func(a, b []byte) bool { return bytes.Compare(a, b) < 0 }
	ordered := true
	for i := 1; i < len(f.lines) && ordered; i++ {
		ordered = inOrder(f.lines[i-1], f.lines[i])
	}
	if ordered {
		return
	}
	order := make([]int, len(f.lines))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(f.lines[a], f.lines[b]) })
	order = slices.CompactFunc(order, func(a, b int) bool { return bytes.Equal(f.lines[a], f.lines[b]) })
	sorted := empty(f.vault, len(order))
	for _, at := range order {
		sorted.push(f, at)
	}
	f.revisions, f.lines, f.sums = sorted.revisions, sorted.lines, sorted.sums
}

// empty returns a file without revisions and with capacity for room of them.
func empty(vault id.Vault, room int) *File {
	return &File{vault: vault, revisions: make([]Revision, 0, room), lines: make([][]byte, 0, room), sums: make([]id.Hash, 0, room)}
}

func parseRevision(line []byte) (v Revision, err error) {
	if len(line) > MaxLine {
		return v, fmt.Errorf("line is longer than %d bytes", MaxLine)
	}
	r := canon.NewReader(line)
	r.Literal(`{"item":`)
	r.Fixed(v.Item[:])
	r.Literal(`,"revision":`)
	r.Fixed(v.Revision[:])
	r.Literal(`,"parents":`)
	v.Parents = keyring.ReadParents(&r)
	r.Literal(`,"meta":`)
	v.Meta = r.Bytes(minSealed, maxSealed)
	r.Literal(`,"secret":`)
	v.Secret = r.Bytes(minSealed, maxSealed)
	r.Literal(`}`)
	return v, r.End()
}

// ParseLine reads one revision's line, with or without its line feed.
func ParseLine(line []byte) (Revision, error) {
	v, err := parseRevision(bytes.TrimSuffix(line, []byte{'\n'}))
	if err != nil {
		return Revision{}, &LineError{Line: 0, What: err.Error()}
	}
	return v, nil
}
