package vaultfile

import (
	"bytes"
	"errors"
	"fmt"

	"vigil/internal/canon"
)

// Delta is the difference between two files, so that little is sent to a keeper
// when a vault of thousands of items changes. It ignores damaged lines.
type Delta struct {
	Drop []int    // indexes of the lines to leave out, ascending
	Add  [][]byte // lines to put in, without line feeds
}

// ErrDelta reports a Delta that wasn't made from the file it was applied to.
var ErrDelta = errors.New("the change does not apply to this vault file")

// Delta returns the difference that Apply turns f into next with.
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

// Apply returns f with d applied. The result aliases d.Add. Errors wrap ErrDelta,
// or are *LineError or *Error.
func (f *File) Apply(d Delta) (*File, error) {
	out := empty(f.vault, len(f.lines)+len(d.Add))
	from := 0
	for _, at := range d.Drop {
		if at < from || at >= len(f.lines) {
			return nil, ErrDelta
		}
		out.pushAll(f, from, at)
		from = at + 1
	}
	out.pushAll(f, from, len(f.lines))
	for _, line := range d.Add {
		rev, err := parseRevision(line)
		if err != nil {
			return nil, &LineError{What: err.Error()}
		}
		out.add(rev, line)
	}
	out.sort()
	if out.Size() > MaxFile {
		return nil, &Error{0, StageSize, fmt.Sprintf("%d bytes, at most %d", out.Size(), MaxFile)}
	}
	return out, nil
}

// pushAll appends revisions [from, to) of another file.
func (f *File) pushAll(of *File, from, to int) {
	f.revisions = append(f.revisions, of.revisions[from:to]...)
	f.lines = append(f.lines, of.lines[from:to]...)
	f.sums = append(f.sums, of.sums[from:to]...)
}

// Holds reports whether data is what EncodeAll would return.
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
