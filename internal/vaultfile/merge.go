package vaultfile

import (
	"bytes"
	"slices"
)

// Merge returns the union of two files of one vault: every line of either,
// including damaged ones. It is commutative, associative and idempotent, and
// drops nothing: Prune does. The error is a *VaultError.
func Merge(a, b *File) (*File, error) {
	if a.vault != b.vault {
		return nil, &VaultError{1, a.vault, b.vault}
	}
	out := empty(a.vault, len(a.lines)+len(b.lines))
	out.lines = append(append(out.lines, a.lines...), b.lines...)
	out.sort()
	out.damaged = slices.Concat(a.damaged, b.damaged)
	// By content: line numbers mean nothing in a union.
	slices.SortFunc(out.damaged, func(x, y LineError) int { return bytes.Compare(x.Bytes, y.Bytes) })
	out.damaged = slices.CompactFunc(out.damaged, func(x, y LineError) bool { return bytes.Equal(x.Bytes, y.Bytes) })
	return out, nil
}

// Add returns the file with more revisions.
func (f *File) Add(revisions ...Revision) *File {
	out := empty(f.vault, len(f.lines)+len(revisions))
	out.lines = append(out.lines, f.lines...)
	for i := range revisions {
		out.lines = append(out.lines, revisions[i].line())
	}
	out.sort()
	out.damaged = slices.Clone(f.damaged)
	return out
}
