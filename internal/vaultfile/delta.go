package vaultfile

import (
	"errors"
	"fmt"
	"slices"

	"vigil/internal/id"
)

// Index is what tells a file from the next one: a fiftieth of its size.
type Index struct {
	vault   id.Vault
	sums    []id.Hash // of the file's lines, in their order
	damaged []string
	size    int
}

// Index returns the file's index. It doesn't keep the file in memory.
func (f *File) Index() *Index {
	x := &Index{vault: f.vault, sums: make([]id.Hash, len(f.lines)), size: f.Size()}
	for i := range f.lines {
		x.sums[i] = f.lines[i].Sum
	}
	for i := range f.damaged {
		x.damaged = append(x.damaged, f.damaged[i].Error())
	}
	return x
}

// Size returns the file's length in bytes.
func (x *Index) Size() int { return x.size }

// Damaged describes the lines that could not be read, in the order of the file. The
// caller must not change it.
func (x *Index) Damaged() []string { return x.damaged }

// Same reports whether f has the index's lines and damage, and so means the same.
func (x *Index) Same(f *File) bool {
	return x.vault == f.vault &&
		slices.EqualFunc(x.sums, f.lines, func(sum id.Hash, l Line) bool { return sum == l.Sum }) &&
		slices.EqualFunc(x.damaged, f.damaged, func(had string, e LineError) bool { return had == e.Error() })
}

// Delta is the difference between two files, so that little is sent to a keeper
// when a vault of thousands of items changes. It ignores damaged lines.
type Delta struct {
	Drop []int    // indexes of the lines to leave out, ascending
	Add  [][]byte // lines to put in, without line feeds
}

// ErrDelta reports a Delta that wasn't made from the file it was applied to.
var ErrDelta = errors.New("the change does not apply to this vault file")

// Delta returns the difference that Apply turns the index's file into next with. It
// aliases next.
func (x *Index) Delta(next *File) (d Delta) {
	had, stay := make(map[id.Hash]bool, len(x.sums)), make(map[id.Hash]bool, len(x.sums))
	for _, sum := range x.sums {
		had[sum] = true
	}
	for i := range next.lines {
		if line := &next.lines[i]; had[line.Sum] {
			stay[line.Sum] = true
		} else {
			d.Add = append(d.Add, line.text)
		}
	}
	for i, sum := range x.sums {
		if !stay[sum] {
			d.Drop = append(d.Drop, i)
		}
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
		out.lines = append(out.lines, f.lines[from:at]...)
		from = at + 1
	}
	out.lines = append(out.lines, f.lines[from:]...)
	for _, text := range d.Add {
		line, err := parseLine(text)
		if err != nil {
			return nil, &LineError{What: err.Error()}
		}
		out.lines = append(out.lines, line)
	}
	out.sort()
	if out.Size() > MaxFile {
		return nil, &Error{0, StageSize, fmt.Sprintf("%d bytes, at most %d", out.Size(), MaxFile)}
	}
	return out, nil
}
