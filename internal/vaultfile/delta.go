package vaultfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/canon"
)

// Delta is what makes one file of another: so little is sent to a keeper when a
// vault of thousands of items changes. Damaged lines have no part in it.
type Delta struct {
	Drop []int    // places of the lines to leave out, ascending
	Add  [][]byte // lines to put in, without line feeds
}

// ErrDelta reports a Delta that isn't one of the file it was applied to.
var ErrDelta = errors.New("the change is not one of this vault file")

// Delta returns what makes next of f.
func (f *File) Delta(next *File) (d Delta) {
	at := 0
	for _, line := range next.lines {
		for at < len(f.lines) && bytes.Compare(f.lines[at], line) < 0 {
			d.Drop = append(d.Drop, at)
			at++
		}
		if at < len(f.lines) && bytes.Equal(f.lines[at], line) {
			at++
			continue
		}
		d.Add = append(d.Add, line)
	}
	for ; at < len(f.lines); at++ {
		d.Drop = append(d.Drop, at)
	}
	return d
}

// Apply returns f with a change made. Errors wrap ErrDelta, or are *LineError or
// *Error.
// The result aliases d.Add.
func (f *File) Apply(d Delta) (*File, error) {
	out := &File{vault: f.vault, revisions: slices.Grow([]Revision(nil), len(f.lines)+len(d.Add)), lines: slices.Grow([][]byte(nil), len(f.lines)+len(d.Add))}
	from := 0
	for _, at := range d.Drop {
		if at < from || at >= len(f.lines) {
			return nil, ErrDelta
		}
		out.revisions, out.lines = append(out.revisions, f.revisions[from:at]...), append(out.lines, f.lines[from:at]...)
		from = at + 1
	}
	out.revisions, out.lines = append(out.revisions, f.revisions[from:]...), append(out.lines, f.lines[from:]...)
	for _, line := range d.Add {
		rev, err := parseRevision(line)
		if err != nil {
			return nil, &LineError{What: err.Error()}
		}
		out.push(rev, line)
	}
	out.sort()
	if out.Size() > MaxFile {
		return nil, &Error{0, StageSize, fmt.Sprintf("%d bytes, at most %d", out.Size(), MaxFile)}
	}
	return out, nil
}

// Holds tells whether data is what EncodeAll would return.
func (f *File) Holds(data []byte) bool {
	if len(f.damaged) > 0 {
		return false
	}
	lines := canon.NewLines(data)
	first, _, ended, ok := lines.Next()
	if !ok || !ended || !bytes.Equal(first, header(f.vault)) {
		return false
	}
	for _, want := range f.lines {
		if line, _, ended, ok := lines.Next(); !ok || !ended || !bytes.Equal(line, want) {
			return false
		}
	}
	_, _, _, more := lines.Next()
	return !more
}
