package vaultfile

import (
	"bytes"
	"slices"

	"vigil/internal/id"
)

// Merge returns the union of two files of one vault: every line of either,
// damaged ones too. It commutes, associates and is idempotent, and drops
// nothing: Prune does. The error is a *VaultError.
func Merge(a, b *File) (*File, error) {
	if a.vault != b.vault {
		return nil, &VaultError{1, a.vault, b.vault}
	}
	out := a.with(b.revisions, b.lines)
	out.damaged = slices.Concat(a.damaged, b.damaged)
	// By content, as numbers mean nothing in a union.
	slices.SortFunc(out.damaged, func(x, y LineError) int { return bytes.Compare(x.Bytes, y.Bytes) })
	out.damaged = slices.CompactFunc(out.damaged, func(x, y LineError) bool { return bytes.Equal(x.Bytes, y.Bytes) })
	return out, nil
}

// Add returns the file with more revisions.
func (f *File) Add(revisions ...Revision) *File {
	lines := make([][]byte, len(revisions))
	for i := range revisions {
		lines[i] = revisions[i].AppendLine(nil)
	}
	out := f.with(revisions, lines)
	out.damaged = slices.Clone(f.damaged)
	return out
}

// with returns a file with the readable lines of f and more.
func (f *File) with(revisions []Revision, lines [][]byte) *File {
	out := &File{vault: f.vault, revisions: slices.Concat(f.revisions, revisions), lines: slices.Concat(f.lines, lines)}
	out.sort()
	return out
}

// Manifest is what the file needs to know of the deks object. *keyring.Deks is
// one; with DEKs that wait to be pushed, wrap it.
type Manifest interface {
	// Has reports whether the revision has a DEK.
	Has(item id.Item, revision id.Revision) bool
	// Parents returns the parents of a revision that has a DEK.
	Parents(revision id.Revision) []id.Revision
	// Deleted reports whether the item was removed for good.
	Deleted(item id.Item) bool
}

// NoManifest knows nothing: for a file on its own.
type NoManifest struct{}

// Has returns false.
func (NoManifest) Has(id.Item, id.Revision) bool { return false }

// Parents returns none.
func (NoManifest) Parents(id.Revision) []id.Revision { return nil }

// Deleted returns false.
func (NoManifest) Deleted(id.Item) bool { return false }

// State says what a revision in the file is good for.
type State int

// The states of a revision.
const (
	Ready         State = iota // a head with a DEK: to be listed and used
	WaitingForKey              // a head without a DEK: kept, not usable yet
	Superseded                 // a descendant of it that can be used is in the file too
	Deleted                    // its item has a tombstone
	Unusable                   // it has a DEK but doesn't open: damaged, or not genuine
)

func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case WaitingForKey:
		return "waiting for its key"
	case Superseded:
		return "superseded"
	case Deleted:
		return "deleted"
	case Unusable:
		return "damaged"
	}
	return "unknown"
}

// States returns the state of each of f.Revisions(), in their order. opens
// reports whether a revision's line opened under its DEK; with nil, every line
// that has a DEK counts as one that does.
//
// An item with two heads has two revisions that are Ready. Which revision
// replaced which is taken from the manifest alone, as lines may be forged, and a
// revision is superseded only by one that can take its place: while the new one
// waits for its key or its ciphertext, or is damaged, the old one stays in use.
func (f *File) States(m Manifest, opens func(*Revision) bool) []State {
	superseded := map[id.Revision]bool{}
	var mark func(parents []id.Revision)
	mark = func(parents []id.Revision) {
		for _, p := range parents {
			if !superseded[p] {
				superseded[p] = true
				mark(m.Parents(p))
			}
		}
	}
	states := make([]State, len(f.revisions))
	for i := range f.revisions {
		v := &f.revisions[i]
		switch {
		case m.Deleted(v.Item):
			states[i] = Deleted
		case !m.Has(v.Item, v.Revision):
			states[i] = WaitingForKey
		case opens != nil && !opens(v):
			states[i] = Unusable
		default:
			mark(m.Parents(v.Revision))
		}
	}
	for i := range f.revisions {
		if states[i] != Deleted && superseded[f.revisions[i].Revision] {
			states[i] = Superseded
		}
	}
	return states
}

// Prune returns the file as a writer leaves it: without superseded revisions
// and those of deleted items. What waits for its key or is damaged stays. opens
// is that of States, and should not be nil where the result replaces a file.
func (f *File) Prune(m Manifest, opens func(*Revision) bool) *File {
	states := f.States(m, opens)
	out := New(f.vault)
	out.damaged = slices.Clone(f.damaged)
	for i, s := range states {
		if s != Superseded && s != Deleted {
			out.push(f.revisions[i], f.lines[i])
		}
	}
	return out
}
