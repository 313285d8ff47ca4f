// Package vaultfile reads, merges and writes the vault file: JSON Lines of
// ciphertext that the user syncs however they like. It holds no key and does no
// I/O.
//
// What tools do to such a file must not cost an item. So a reader takes lines in
// any order, repeated or superseded; a line that it can't read is reported by
// number and doesn't hide the others; and a writer refuses to drop what it could
// not read.
//
// The format is written down in docs/vault-format.md, "The vault file".
package vaultfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Version is the format version of the vault file.
const Version = 1

// Limits of the vault file.
const (
	// MaxFile is the most bytes a vault file may have: 100,000 items and more.
	MaxFile = 256 << 20
	// MaxLine is the most bytes one line may have, its line feed excluded: a
	// secret of 256 KiB and a meta of 64 KiB in base64url, and MaxParents.
	MaxLine = 512 << 10
	// MaxDamaged is the most lines that may be unreadable: beyond, it is no
	// vault file with damage but something else.
	MaxDamaged = 10_000
	// maxSealed bounds one sealed field.
	maxSealed = 80 + 256<<10
	// minSealed is the size of the smallest: 512 bytes of padded plaintext.
	minSealed = 80 + 512
	// minLine is less than the shortest readable item line has, in bytes.
	minLine = 1600
)

// Stage names the check that refused a file or line. Test vectors name it too.
type Stage string

// The stages, in the order in which a reader goes through them.
const (
	StageSize    Stage = "size"
	StageHeader  Stage = "header"
	StageVersion Stage = "version"
	StageVault   Stage = "vault"
	StageSyntax  Stage = "syntax" // of an item line
)

// Error says why a file can't be used at all.
type Error struct {
	Line  int // from 1; 0 when the whole file is meant
	Stage Stage
	What  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("vault file: %s: %s", e.Stage, e.What)
	}
	return fmt.Sprintf("vault file line %d: %s: %s", e.Line, e.Stage, e.What)
}

// VaultError says that a file, or a header line within it, is another vault's.
type VaultError struct {
	Line            int
	Expected, Found id.Vault
}

func (e *VaultError) Error() string {
	return fmt.Sprintf("vault file line %d: %s: belongs to vault %v, want %v", e.Line, StageVault, e.Found, e.Expected)
}

// StageOf returns the stage at which err refused a file, or "".
func StageOf(err error) Stage {
	var e *Error
	var v *VaultError
	var l *LineError
	switch {
	case errors.As(err, &e):
		return e.Stage
	case errors.As(err, &v):
		return StageVault
	case errors.As(err, &l):
		return StageSyntax
	}
	return ""
}

// ErrDamaged is returned by Encode for a file with lines that could not be read.
var ErrDamaged = errors.New("vault file has lines that can't be read; it is not overwritten")

// LineError is a line that could not be read. It doesn't stop the others.
type LineError struct {
	Line int // from 1
	// Item is the item it seems to be about, zero if it can't be told.
	Item id.Item
	What string
	// Bytes are the line as it stands, without line feed.
	Bytes []byte
}

func (e *LineError) Error() string {
	if e.Item.IsZero() {
		return fmt.Sprintf("vault file line %d: %s", e.Line, e.What)
	}
	return fmt.Sprintf("vault file line %d: item %v: %s", e.Line, e.Item, e.What)
}

// Revision is one line: one version of an item. Whether it is genuine shows
// when it is opened.
type Revision struct {
	Item     id.Item
	Revision id.Revision
	// Parents are the revisions it replaces, sorted by keyring.SortParents.
	Parents []id.Revision
	// Epoch of the manifest that its writer last saw.
	Epoch uint64
	// Meta and Secret are sealed under the revision's DEK.
	Meta, Secret []byte
}

// File is a vault file. Its lines are a set.
type File struct {
	vault     id.Vault
	revisions []Revision // sorted by their line, each once
	damaged   []LineError
	has       map[place]bool
}

type place struct {
	item     id.Item
	revision id.Revision
}

// New returns a vault file without items.
func New(vault id.Vault) *File { return &File{vault: vault, has: map[place]bool{}} }

// header returns line 1, constant for a vault's life, without line feed.
func header(vault id.Vault) []byte {
	b := append([]byte(nil), `{"vigil":"vault","version":`...)
	b = canon.AppendUint(b, Version)
	b = append(b, `,"vault":`...)
	b = canon.AppendBytes(b, vault[:])
	return append(b, '}')
}

// Header returns the first line of a vault's file, with its line feed.
func Header(vault id.Vault) []byte { return append(header(vault), '\n') }

// Parse reads a vault file. With a want that isn't zero it must be that
// vault's. The error is an *Error or *VaultError when the file can't be used at
// all: too large, no header, an unknown version, another vault. Lines that can't
// be read are in Damaged. The result shares no memory with data.
func Parse(data []byte, want id.Vault) (*File, error) {
	if len(data) > MaxFile {
		return nil, &Error{0, StageSize, fmt.Sprintf("%d bytes, at most %d", len(data), MaxFile)}
	}
	lines := canon.NewLines(data)
	first, _, _, ok := lines.Next()
	if !ok {
		return nil, &Error{0, StageHeader, "the file is empty"}
	}
	vault, err := parseHeader(first)
	if err != nil {
		return nil, err
	}
	if !want.IsZero() && vault != want {
		return nil, &VaultError{1, want, vault}
	}
	f := New(vault)
	p := parser{file: f, header: header(vault), raw: make([][]byte, 0, len(data)/minLine)}
	for {
		line, number, ended, ok := lines.Next()
		if !ok {
			break
		}
		if err := p.take(line, number, ended); err != nil {
			return nil, err
		}
	}
	p.sort()
	return f, nil
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
	raw    [][]byte // the line of each revision, for sorting
}

// take reads one line after the first. It fails for the header of another
// vault, and when too many lines can't be read.
func (p *parser) take(line []byte, number int, ended bool) error {
	if bytes.Equal(line, p.header) {
		return nil // a union of two files has it twice
	}
	if bytes.HasPrefix(line, []byte(`{"vigil":`)) {
		if other, err := parseHeader(line); err == nil && other != p.file.vault {
			return &VaultError{number, p.file.vault, other}
		}
	}
	rev, err := parseRevision(line)
	if err == nil {
		p.file.revisions = append(p.file.revisions, rev)
		p.raw = append(p.raw, line)
		p.file.has[place{rev.Item, rev.Revision}] = true
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
		return "a merge conflict's marker; removing this line settles it"
	case line[len(line)-1] == '\r':
		return "line ends with a carriage return"
	}
	return err.Error()
}

// itemOf returns the item that a damaged line begins with.
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

// sort puts the revisions in the order of their lines and drops repetitions.
func (p *parser) sort() {
	order := make([]int, len(p.raw))
	for i := range order {
		order[i] = i
	}
	byLine := func(a, b int) int { return bytes.Compare(p.raw[a], p.raw[b]) }
	if !slices.IsSortedFunc(order, byLine) {
		slices.SortFunc(order, byLine)
	}
	order = slices.CompactFunc(order, func(a, b int) bool { return bytes.Equal(p.raw[a], p.raw[b]) })
	sorted := make([]Revision, len(order))
	for i, at := range order {
		sorted[i] = p.file.revisions[at]
	}
	p.file.revisions = sorted
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
	r.Literal(`,"epoch":`)
	v.Epoch = r.Uint()
	r.Literal(`,"meta":`)
	v.Meta = r.Bytes(minSealed, maxSealed)
	r.Literal(`,"secret":`)
	v.Secret = r.Bytes(minSealed, maxSealed)
	r.Literal(`}`)
	return v, r.End()
}

// AppendLine appends the revision's line, without line feed.
func (v *Revision) AppendLine(b []byte) []byte {
	b = append(b, `{"item":`...)
	b = canon.AppendBytes(b, v.Item[:])
	b = append(b, `,"revision":`...)
	b = canon.AppendBytes(b, v.Revision[:])
	b = append(b, `,"parents":`...)
	b = keyring.AppendParents(b, v.Parents)
	b = append(b, `,"epoch":`...)
	b = canon.AppendUint(b, v.Epoch)
	b = append(b, `,"meta":`...)
	b = canon.AppendBytes(b, v.Meta)
	b = append(b, `,"secret":`...)
	b = canon.AppendBytes(b, v.Secret)
	return append(b, '}')
}

// Line returns the revision's line with its line feed.
func (v *Revision) Line() []byte { return append(v.AppendLine(nil), '\n') }

// ParseLine reads one revision's line, with or without its line feed.
func ParseLine(line []byte) (Revision, error) {
	v, err := parseRevision(bytes.TrimSuffix(line, []byte{'\n'}))
	if err != nil {
		return Revision{}, &LineError{Line: 0, What: err.Error()}
	}
	return v, nil
}

// Vault returns the vault's id.
func (f *File) Vault() id.Vault { return f.vault }

// Revisions returns every line that could be read, sorted, superseded ones too.
// The caller must not change it.
func (f *File) Revisions() []Revision { return f.revisions }

// Damaged returns the lines that could not be read, in the order of the file.
func (f *File) Damaged() []LineError { return f.damaged }

// Has reports whether the file has a line of the item's revision.
func (f *File) Has(item id.Item, revision id.Revision) bool {
	return f.has[place{item, revision}]
}

// Encode returns the file: the header, then every revision sorted by its line.
// With damaged lines it returns ErrDamaged: EncodeAll keeps them.
func (f *File) Encode() ([]byte, error) {
	if len(f.damaged) > 0 {
		return nil, fmt.Errorf("%w: line %d", ErrDamaged, f.damaged[0].Line)
	}
	return f.EncodeAll(), nil
}

// EncodeAll returns the file with its damaged lines, byte for byte, at the end.
func (f *File) EncodeAll() []byte {
	size := 100
	for i := range f.revisions {
		size += 200 + (len(f.revisions[i].Meta)+len(f.revisions[i].Secret))*4/3
	}
	b := append(make([]byte, 0, size), Header(f.vault)...)
	for i := range f.revisions {
		b = append(f.revisions[i].AppendLine(b), '\n')
	}
	for i := range f.damaged {
		b = append(append(b, f.damaged[i].Bytes...), '\n')
	}
	return b
}
