package server

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
)

// loadItems makes the vault file's revisions that have a DEK usable, and drops those
// without one. It reports a damaged item and continues with the others. replaced are
// revisions that must not be used again.
func (v *vault) loadItems(parsed *vaultfile.File, replaced []id.Revision) *keeper.Loaded {
	manifest := v.ring.Manifest()
	tried := v.tryAll(parsed, manifest)
	view := parsed.See(manifest, func(line *vaultfile.Line) bool { return tried[line.Revision].problem == "" })
	gone := make(map[id.Revision]bool, len(replaced))
	for _, revision := range replaced {
		gone[revision] = true
	}
	l := &keeper.Loaded{Pins: v.ring.Pins(), OpensKEK: v.ring.Opens(v.ring.Members().KEK())}
	var use []*item
	kept, bad := make(map[id.Revision]*item, len(tried)), map[id.Revision]bool{}
	for i := range parsed.Lines() {
		line := &parsed.Lines()[i]
		it := tried[line.Revision]
		switch view.States[i] {
		case vaultfile.WaitingForKey:
			l.Waiting++
			continue
		case vaultfile.Ready:
			it.state = keeper.ItemReady
		case vaultfile.Outdated:
			it.state = keeper.ItemOutdated
			if gone[line.Revision] {
				it.state = keeper.ItemReplaced
			}
		case vaultfile.Unusable:
			if it == nil {
				it = &item{line: *line, problem: fmt.Sprintf("item %v: %v", line.Item, errForged)}
			}
			if !bad[line.Revision] { // one damaged line per revision is enough
				use = append(use, it)
			}
			bad[line.Revision] = true
			continue
		default:
			continue
		}
		if view.Held[line.Item] {
			it.state = keeper.ItemHeld
		}
		kept[line.Revision] = it
		use = append(use, it)
	}
	for _, e := range view.Missing {
		l.Missing = append(l.Missing, keeper.Missing{Item: e.Item, Revision: e.Revision})
	}
	l.Replaced = stillReplaced(view.Replaced, replaced, manifest)
	l.Items = make([]keeper.Item, len(use))
	for i, it := range use {
		l.Items[i] = v.offer(it)
	}
	v.keep(kept)
	return l
}

// errForged is the problem of a line that differs from the one that was saved.
var errForged = errors.New("its line in the vault file is not the one that was saved")

// stillReplaced returns the revisions that must not be used again, sorted: those
// replaced in this file or earlier that are in the manifest. The others can't come
// back. The front records them once the file is on the disk.
func stillReplaced(now map[id.Revision]bool, before []id.Revision, manifest *keyring.Pending) []id.Revision {
	for _, revision := range before {
		now[revision] = true
	}
	for revision := range now {
		if manifest.Lookup(revision) == nil {
			delete(now, revision)
		}
	}
	return slices.SortedFunc(maps.Keys(now), func(a, b id.Revision) int { return bytes.Compare(a[:], b[:]) })
}

// keep drops the items that aren't in kept. A removed item's key stops signing at
// once, a superseded revision's at the next load.
func (v *vault) keep(kept map[id.Revision]*item) {
	v.dropStale()
	there := make(map[id.Item]bool, len(kept))
	for _, it := range kept {
		there[it.line.Item] = true
	}
	for revision, it := range v.items {
		switch {
		case kept[revision] == it:
		case there[it.line.Item]:
			v.stale = append(v.stale, it.number)
		default:
			v.server.keys.remove(it.number)
		}
	}
	v.items = kept
}

// tryAll tries every genuine line, on all cores: after an unlock all are new.
func (v *vault) tryAll(parsed *vaultfile.File, manifest *keyring.Pending) map[id.Revision]*item {
	lines := parsed.Lines()
	items := make([]*item, len(lines))
	var workers sync.WaitGroup
	share := max(minShare, (len(lines)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for start := 0; start < len(lines); start += share {
		end := min(start+share, len(lines))
		workers.Go(func() {
			for i := start; i < end; i++ {
				if dek := manifest.Lookup(lines[i].Revision); dek != nil && dek.Item == lines[i].Item && dek.Line == lines[i].Sum {
					items[i] = v.tryItem(lines[i], *dek)
				}
			}
		})
	}
	workers.Wait()
	tried := make(map[id.Revision]*item, len(lines))
	for i, it := range items {
		if it != nil {
			tried[lines[i].Revision] = it
		}
	}
	return tried
}

// minShare is the least number of lines worth a goroutine.
const minShare = 256

// tryItem opens the metadata of a revision, unless it is known.
func (v *vault) tryItem(line vaultfile.Line, dek keyring.DEK) *item {
	if old := v.items[line.Revision]; old != nil && old.dek.Line == dek.Line {
		old.dek = dek // the DEK may have been rewrapped
		return old
	}
	it := &item{line: line, dek: dek}
	meta, err := v.openMeta(it)
	if err != nil {
		it.problem = err.Error()
	}
	it.meta = meta
	return it
}

// offer returns the front's view of an item, with a key number if it may sign.
func (v *vault) offer(it *item) keeper.Item {
	serves := it.problem == "" && (it.state == keeper.ItemReady || it.state == keeper.ItemOutdated)
	switch {
	case serves && it.number == 0:
		it.number = v.server.keys.add(&entry{open: func() (*signer.Key, error) { return v.openKey(it) }})
	case !serves && it.number != 0:
		v.server.keys.remove(it.number)
		it.number = 0
	}
	offered := keeper.Item{
		Key: it.number, Item: it.line.Item, Revision: it.line.Revision,
		State: it.state, Meta: it.meta, Problem: it.problem,
	}
	it.meta = nil // the front has it now
	return offered
}
