// Package vaultfile reads, merges and writes the vault file: JSON Lines of
// ciphertext that the user syncs however they like. It holds no key and does no
// I/O.
//
// Sync and merge tools must not be able to lose an item. So a reader accepts
// lines in any order, repeated or superseded; it reports a line that it can't read
// by number, and reads the others; and a writer refuses to drop unreadable lines.
//
// The format is specified in docs/vault-format.md, "The vault file".
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
	// MaxDamaged is the most lines that may be unreadable: a file with more is
	// not a damaged vault file but something else.
	MaxDamaged = 10_000
	// maxSealed bounds one sealed field.
	maxSealed = 80 + 256<<10
	// minSealed is the size of the smallest one: 512 bytes of padded plaintext.
	minSealed = 80 + 512
	// minLine is a lower bound of the length of a readable item line, in bytes.
	minLine = 1600
)

// Stage names the check that refused a file or line. Test vectors use the same
// names.
type Stage string

// The stages, in the order in which a reader checks them.
const (
	StageSize    Stage = "size"
	StageHeader  Stage = "header"
	StageVersion Stage = "version"
	StageVault   Stage = "vault"
	StageSyntax  Stage = "syntax" // of an item line
)

// Error reports why a file can't be used at all.
type Error struct {
	Line  int // from 1; 0 for the whole file
	Stage Stage
	What  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("vault file: %s: %s", e.Stage, e.What)
	}
	return fmt.Sprintf("vault file line %d: %s: %s", e.Line, e.Stage, e.What)
}

// VaultError reports that a file, or a header line within it, is another vault's.
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

// LineError is a line that could not be read. It doesn't affect other lines.
type LineError struct {
	Line int // from 1
	// Item is the item that the line seems to belong to, or zero.
	Item id.Item
	What string
	// Bytes is the line as read, without line feed.
	Bytes []byte
}

func (e *LineError) Error() string {
	if e.Item.IsZero() {
		return fmt.Sprintf("vault file line %d: %s", e.Line, e.What)
	}
	return fmt.Sprintf("vault file line %d: item %v: %s", e.Line, e.Item, e.What)
}

// Revision is what one line encodes: one version of an item. It is genuine if the
// manifest has the hash of its line.
type Revision struct {
	Item     id.Item
	Revision id.Revision
	// Parents are the revisions it replaces, sorted by keyring.SortParents.
	Parents []id.Revision
	// Meta and Secret are sealed under the revision's DEK.
	Meta, Secret []byte
}

// File is a vault file: a set of lines. It is immutable.
type File struct {
	vault   id.Vault
	lines   []Line // sorted by their text, each once
	damaged []LineError
}

// Line is a line of a file, as it is there: base64url takes a third more than what it
// encodes, but a line is decoded only when its item is used.
type Line struct {
	Item     id.Item
	Revision id.Revision
	Parents  []id.Revision // sorted by keyring.SortParents
	Sum      id.Hash       // of Text, as the manifest names it

	text         []byte
	meta, secret []byte // within text, as base64url
}

// Text returns the line without line feed. The caller must not change it.
func (l *Line) Text() []byte { return l.text }

// Decode returns the revision that the line encodes.
func (l *Line) Decode() Revision {
	v := l.DecodeMeta()
	v.Secret = canon.Decode(l.secret)
	return v
}

// DecodeMeta returns the revision that the line encodes without its Secret.
func (l *Line) DecodeMeta() Revision {
	return Revision{Item: l.Item, Revision: l.Revision, Parents: l.Parents, Meta: canon.Decode(l.meta)}
}

// New returns a vault file without items.
func New(vault id.Vault) *File { return &File{vault: vault} }

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

// line encodes the revision.
func (v *Revision) line() Line {
	b := v.appendName(nil)
	b = append(b, `,"parents":`...)
	b = keyring.AppendParents(b, v.Parents)
	b = append(b, `,"meta":`...)
	meta := len(b)
	b = canon.AppendBytes(b, v.Meta)
	metaEnd := len(b)
	b = append(b, `,"secret":`...)
	secret := len(b)
	b = canon.AppendBytes(b, v.Secret)
	secretEnd := len(b)
	b = append(b, '}')
	return Line{
		Item: v.Item, Revision: v.Revision, Parents: v.Parents, Sum: id.HashOf(b),
		text: b, meta: b[meta+1 : metaEnd-1], secret: b[secret+1 : secretEnd-1],
	}
}

// appendName appends the start of the line: its item and revision.
func (v *Revision) appendName(b []byte) []byte {
	b = append(b, `{"item":`...)
	b = canon.AppendBytes(b, v.Item[:])
	b = append(b, `,"revision":`...)
	return canon.AppendBytes(b, v.Revision[:])
}

// Text returns the revision's line without line feed.
func (v *Revision) Text() []byte { return v.line().text }

// Sum returns the hash of the revision's line, as the manifest names it.
func (v *Revision) Sum() id.Hash { return v.line().Sum }

// Line returns the revision's line with its line feed.
func (v *Revision) Line() []byte { return append(v.line().text, '\n') }

// Vault returns the vault's id.
func (f *File) Vault() id.Vault { return f.vault }

// Lines returns every line that could be read, sorted, superseded ones too. The
// caller must not change them.
func (f *File) Lines() []Line { return f.lines }

// Damaged returns the lines that could not be read, in the order of the file.
func (f *File) Damaged() []LineError { return f.damaged }

// Has reports whether the file has e's line, the one with the hash in e.
func (f *File) Has(e *keyring.DEK) bool {
	v := Revision{Item: e.Item, Revision: e.Revision}
	prefix := v.appendName(nil)
	at, _ := slices.BinarySearchFunc(f.lines, prefix, func(l Line, p []byte) int { return bytes.Compare(l.text, p) })
	for ; at < len(f.lines) && bytes.HasPrefix(f.lines[at].text, prefix); at++ {
		if f.lines[at].Sum == e.Line {
			return true
		}
	}
	return false
}

// Encode returns the file: the header, then every revision sorted by its line.
// If the file has damaged lines, it returns ErrDamaged; EncodeAll keeps them.
func (f *File) Encode() ([]byte, error) {
	if len(f.damaged) > 0 {
		return nil, fmt.Errorf("%w: line %d", ErrDamaged, f.damaged[0].Line)
	}
	return f.EncodeAll(), nil
}

// Size returns the length in bytes of EncodeAll's result.
func (f *File) Size() int {
	size := len(Header(f.vault))
	for i := range f.lines {
		size += len(f.lines[i].text) + 1
	}
	for i := range f.damaged {
		size += len(f.damaged[i].Bytes) + 1
	}
	return size
}

// EncodeAll returns the file with its damaged lines, byte for byte, at the end.
func (f *File) EncodeAll() []byte {
	b := append(make([]byte, 0, f.Size()), Header(f.vault)...)
	for i := range f.lines {
		b = append(append(b, f.lines[i].text...), '\n')
	}
	for i := range f.damaged {
		b = append(append(b, f.damaged[i].Bytes...), '\n')
	}
	return b
}
