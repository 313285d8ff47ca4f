package vaultfile

import (
	"iter"
	"slices"

	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Manifest is what the file needs to know of the deks object. *keyring.Deks is
// one; with changes that wait to be pushed it is a *keyring.Pending.
type Manifest interface {
	// Lookup returns what the manifest has of a revision; nil: nothing.
	Lookup(revision id.Revision) *keyring.DEK
	// Heads are the revisions that nothing has superseded.
	Heads() iter.Seq[*keyring.DEK]
	// Deleted reports whether the item was removed for good.
	Deleted(item id.Item) bool
}

// State says what a revision in the file is good for.
type State int

// The states of a revision.
const (
	Ready         State = iota // a head with a DEK: to be listed and used
	Outdated                   // replaced, and what replaced it is not in the file
	WaitingForKey              // a head without a DEK: kept, not usable yet
	Superseded                 // a descendant of it that can be used is in the file too
	Deleted                    // its item has a tombstone
	Unusable                   // it has a DEK and isn't that revision's line, or doesn't open
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

// View is a vault file as a manifest sees it.
type View struct {
	// States has the state of each of File.Revisions, in their order.
	States []State
	// Missing are heads of the manifest whose lines are not in the file.
	Missing []keyring.DEK
	// Held are the items of which something stricter than what the file has is
	// missing: none of their revisions is to be used.
	Held map[id.Item]bool
	// Replaced are the revisions that have a descendant in the file.
	Replaced map[id.Revision]bool
}

// See returns the file as a manifest sees it. opens reports whether a genuine
// line opens under its DEK; with nil, every one counts as one that does.
//
// Which revision replaced which, and which line is a revision's, is taken from
// the manifest alone, as lines may be forged. An item with two heads has two
// revisions that are Ready. While what replaced a revision is missing or
// doesn't open, the revision is Outdated: whether it may still serve depends on
// Held, and on what the device has seen before.
func (f *File) See(m Manifest, opens func(*Revision) bool) *View {
	v := &View{States: make([]State, len(f.revisions)), Held: map[id.Item]bool{}, Replaced: map[id.Revision]bool{}}
	genuine := make([]*keyring.DEK, len(f.revisions)) // nil: the line is none that counts
	heads := 0                                        // of the manifest that are here; no line is in a file twice
	for i := range f.revisions {
		rev := &f.revisions[i]
		e := m.Lookup(rev.Revision)
		switch {
		case m.Deleted(rev.Item):
			v.States[i] = Deleted
		case e == nil || e.Item != rev.Item:
			v.States[i] = WaitingForKey
		case e.Line != f.sums[i] || opens != nil && !opens(rev):
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
	var here map[id.Revision]bool // made when something is amiss, which is seldom
	if heads != 0 || slices.Contains(v.States, Unusable) {
		here = f.present(genuine)
	}
	for i := range f.revisions {
		rev := &f.revisions[i]
		switch {
		case v.States[i] != Ready && v.States[i] != Unusable:
		case v.Replaced[rev.Revision], v.States[i] == Unusable && here[rev.Revision]:
			v.States[i] = Superseded // a line beside the genuine one is nobody's loss
		case genuine[i] != nil && genuine[i].Superseded != 0:
			v.States[i] = Outdated
		}
	}
	if heads != 0 {
		v.missing(m, here)
	}
	return v
}

// present are the revisions whose genuine lines the file has.
func (f *File) present(genuine []*keyring.DEK) map[id.Revision]bool {
	here := make(map[id.Revision]bool, len(genuine))
	for i, e := range genuine {
		if e != nil {
			here[f.revisions[i].Revision] = true
		}
	}
	return here
}

// missing notes the heads whose lines aren't there.
func (v *View) missing(m Manifest, here map[id.Revision]bool) {
	between := map[id.Revision]bool{} // a missing head and what is there
	for head := range m.Heads() {
		if !here[head.Revision] {
			v.miss(m, head, here, between)
		}
	}
}

// miss notes a head whose line isn't there. Its item is held when it, or one
// between it and what is there, restricts the key's use. What another missing head
// has led to already is not gone through again.
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

// ancestors calls visit for the revisions of the same item that e descends from
// and the manifest has, going on from those for which it returns true.
func ancestors(m Manifest, e *keyring.DEK, visit func(*keyring.DEK) bool) {
	for next := slices.Clone(e.Parents); len(next) > 0; {
		p := next[len(next)-1]
		next = next[:len(next)-1]
		if a := m.Lookup(p); a != nil && a.Item == e.Item && visit(a) {
			next = append(next, a.Parents...)
		}
	}
}

// Prune returns the file as a writer leaves it: without superseded revisions
// and those of deleted items. What waits for its key or is damaged stays. opens
// is that of See, and should not be nil where the result replaces a file.
func (f *File) Prune(m Manifest, opens func(*Revision) bool) *File {
	view := f.See(m, opens)
	out := empty(f.vault, len(f.lines))
	out.damaged = slices.Clone(f.damaged)
	for i, s := range view.States {
		if s != Superseded && s != Deleted {
			out.push(f, i)
		}
	}
	return out
}
