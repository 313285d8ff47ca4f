package vaultfile

import (
	"iter"
	"slices"

	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Manifest is what the file needs from the deks object. *keyring.Deks implements
// it, and so does *keyring.Pending, which adds pending changes.
type Manifest interface {
	// Lookup returns the manifest's entry for a revision, or nil.
	Lookup(revision id.Revision) *keyring.DEK
	// Heads returns the revisions that have not been superseded.
	Heads() iter.Seq[*keyring.DEK]
	// Deleted reports whether the item was removed.
	Deleted(item id.Item) bool
}

// State is the state of a revision in the file.
type State int

// The states of a revision.
const (
	Ready         State = iota // a head with a DEK: can be listed and used
	Outdated                   // replaced, but its replacement is not in the file or doesn't open
	WaitingForKey              // has no DEK: kept, not usable yet
	Superseded                 // the file has a usable descendant of it
	Deleted                    // its item has a tombstone
	Unusable                   // has a DEK, but the line is not the revision's, or doesn't open
)

func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Outdated:
		return "outdated"
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

// View is the state of a vault file according to a manifest.
type View struct {
	// States has the state of each of File.Lines, in their order.
	States []State
	// Missing are heads of the manifest whose lines are not in the file.
	Missing []keyring.DEK
	// Held are the items of which a revision is missing that restricts use
	// further than those in the file: none of their revisions may be used.
	Held map[id.Item]bool
	// Replaced are the revisions that have a descendant in the file.
	Replaced map[id.Revision]bool
}

// See returns the state of the file according to a manifest. opens reports
// whether a genuine line opens under its DEK; if nil, every line counts as
// opening.
//
// Only the manifest determines which revision replaced which, and which line is a
// revision's, because lines may be forged. An item with two heads has two Ready
// revisions. A revision is Outdated while its replacement is missing or doesn't
// open: whether it may still serve depends on Held, and on what the device has
// seen before.
func (f *File) See(m Manifest, opens func(*Line) bool) *View {
	v := &View{States: make([]State, len(f.lines)), Held: map[id.Item]bool{}, Replaced: map[id.Revision]bool{}}
	genuine := make([]*keyring.DEK, len(f.lines)) // nil: the line is not genuine
	heads := 0                                    // the manifest's heads in the file; no line is in it twice
	for i := range f.lines {
		line := &f.lines[i]
		e := m.Lookup(line.Revision)
		switch {
		case m.Deleted(line.Item):
			v.States[i] = Deleted
		case e == nil || e.Item != line.Item:
			v.States[i] = WaitingForKey
		case e.Line != line.Sum || opens != nil && !opens(line):
			v.States[i] = Unusable
		default:
			genuine[i] = e
			if e.Superseded == 0 {
				heads++
			}
			ancestors(m, e, func(a *keyring.DEK) bool {
				again := v.Replaced[a.Revision]
				v.Replaced[a.Revision] = true
				return !again
			})
		}
	}
	for range m.Heads() {
		heads-- // below 0: some are missing
	}
	var here map[id.Revision]bool // computed only if needed, which is rare
	if heads != 0 || slices.Contains(v.States, Unusable) {
		here = f.present(genuine)
	}
	for i := range f.lines {
		line := &f.lines[i]
		switch {
		case v.States[i] != Ready && v.States[i] != Unusable:
		case v.Replaced[line.Revision], v.States[i] == Unusable && here[line.Revision]:
			v.States[i] = Superseded // the file has a usable line: this one isn't needed
		case genuine[i] != nil && genuine[i].Superseded != 0:
			v.States[i] = Outdated
		}
	}
	if heads != 0 {
		v.missing(m, here)
	}
	return v
}

// present returns the revisions whose genuine lines are in the file.
func (f *File) present(genuine []*keyring.DEK) map[id.Revision]bool {
	here := make(map[id.Revision]bool, len(genuine))
	for i, e := range genuine {
		if e != nil {
			here[f.lines[i].Revision] = true
		}
	}
	return here
}

// missing records the heads whose lines aren't in the file.
func (v *View) missing(m Manifest, here map[id.Revision]bool) {
	between := map[id.Revision]bool{} // revisions between a missing head and those in the file
	for head := range m.Heads() {
		if !here[head.Revision] {
			v.miss(m, head, here, between)
		}
	}
}

// miss records a head whose line isn't in the file. Its item is held if the head,
// or a revision between it and those in the file, restricts the key's use. miss
// doesn't visit revisions in between again, which were visited for another head.
func (v *View) miss(m Manifest, head *keyring.DEK, here, between map[id.Revision]bool) {
	v.Missing = append(v.Missing, *head)
	held := head.Tightens
	ancestors(m, head, func(a *keyring.DEK) bool {
		if here[a.Revision] || between[a.Revision] {
			return false
		}
		between[a.Revision] = true
		held = held || a.Tightens
		return true
	})
	if held {
		v.Held[head.Item] = true
	}
}

// ancestors calls visit for e's ancestors in the manifest that are of the same
// item. It continues to the parents of those for which visit returns true.
func ancestors(m Manifest, e *keyring.DEK, visit func(*keyring.DEK) bool) {
	for next := slices.Clone(e.Parents); len(next) > 0; {
		p := next[len(next)-1]
		next = next[:len(next)-1]
		if a := m.Lookup(p); a != nil && a.Item == e.Item && visit(a) {
			next = append(next, a.Parents...)
		}
	}
}

// Prune returns the file without superseded revisions and those of deleted items.
// Lines that wait for their key or are damaged stay. opens is as in See, and
// should not be nil if the result replaces a file.
func (f *File) Prune(m Manifest, opens func(*Line) bool) *File {
	view := f.See(m, opens)
	out := empty(f.vault, len(f.lines))
	out.damaged = slices.Clone(f.damaged)
	for i, s := range view.States {
		if s != Superseded && s != Deleted {
			out.lines = append(out.lines, f.lines[i])
		}
	}
	return out
}
