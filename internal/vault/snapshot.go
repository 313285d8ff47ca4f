package vault

import (
	"bytes"
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// snapshot is the immutable result of a load.
type snapshot struct {
	keyring backend.Keyring
	members *keyring.Members // of keyring, verified
	// deks returns the manifest of keyring, parsed by the first call.
	deks func() (*keyring.Deks, error)
	file *vaultfile.Index

	pins     keyring.Pins // of keyring
	opensKEK bool         // the keeper has opened the newest KEK
	replaced []id.Revision

	keys       []*Key // sorted by name
	byRevision map[id.Revision]*Key
	missing    []keeper.Missing
	waiting    int  // lines of the vault file that have no DEK
	pending    int  // changes that the backend doesn't have
	changed    bool // it lists other keys than the snapshot in use before, or differently
}

// loadedParts is what a keeper has loaded and the front hasn't taken over yet.
type loadedParts struct {
	*keeper.Loaded
	keyring backend.Keyring
	file    *vaultfile.Index
	waiting keyring.Update
}

// next returns the snapshot that follows s, and reports whether what it lists
// changed. It shares the unchanged keys with s.
func (s *snapshot) next(vault id.Vault, l *loadedParts) (n *snapshot, changed bool, err error) {
	n = &snapshot{
		keyring: l.keyring, file: l.file, pins: l.Pins, opensKEK: l.OpensKEK, replaced: l.Replaced,
		waiting: l.Waiting, missing: l.Missing, pending: len(l.waiting.Add) + len(l.waiting.Remove),
	}
	if n.members = s.members; n.members == nil || !bytes.Equal(s.keyring.Members, l.keyring.Members) {
		if n.members, err = keyring.ParseMembers(l.keyring.Members, vault); err != nil {
			return nil, false, fmt.Errorf("read keyring: %w", err)
		}
	}
	deks := l.keyring.Deks // so that n.deks doesn't keep l
	n.deks = sync.OnceValues(func() (*keyring.Deks, error) { return keyring.ParseDeks(deks, vault) })
	changed = n.takeKeys(s, l)
	return n, changed, nil
}

// takeKeys fills in the keys, reusing old's.
func (n *snapshot) takeKeys(old *snapshot, l *loadedParts) (changed bool) {
	pending := make(map[id.Revision]bool, len(l.waiting.Add))
	for i := range l.waiting.Add {
		pending[l.waiting.Add[i].Revision] = true
	}
	n.byRevision = make(map[id.Revision]*Key, len(l.Items))
	n.keys = make([]*Key, 0, len(l.Items))
	touched := map[id.Item]bool{} // items whose heads may have changed
	fresh := old.newKeys(l.Items)
	for i := range l.Items {
		it := &l.Items[i]
		k := fresh[i]
		if k == nil {
			k = old.byRevision[it.Revision]
		} else {
			touched[it.Item] = true
		}
		if k.number != it.Key || k.state != it.State || k.pending != pending[it.Revision] {
			changed = changed || k.state != it.State
			other := *k
			other.number, other.state, other.pending = it.Key, it.State, pending[it.Revision]
			k = &other
		}
		n.byRevision[it.Revision] = k
	}
	for _, k := range old.keys {
		if n.byRevision[k.revision] == nil {
			touched[k.item] = true
		}
	}
	for _, k := range old.keys { // they are sorted
		if k = n.byRevision[k.revision]; k != nil && !touched[k.item] {
			n.keys = append(n.keys, k)
		}
	}
	for i := range l.Items {
		if !touched[l.Items[i].Item] {
			continue
		}
		k := n.byRevision[l.Items[i].Revision]
		if k.heads != 0 { // may be shared with old
			other := *k
			k = &other
			n.byRevision[k.revision] = k
		}
		n.keys = append(n.keys, k)
	}
	changed = markLaxer(n.keys, touched) || changed || len(touched) > 0
	slices.SortFunc(n.keys, func(a, b *Key) int {
		if c := strings.Compare(a.meta.Name, b.meta.Name); c != 0 {
			return c
		}
		return bytes.Compare(a.revision[:], b.revision[:])
	})
	return changed
}

// newKeys returns the keys of those items that s doesn't have as they are; nil for the
// others. It decodes them on all cores: after an unlock all are new.
func (s *snapshot) newKeys(items []keeper.Item) []*Key {
	keys := make([]*Key, len(items))
	var workers sync.WaitGroup
	share := max(minShare, (len(items)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for start := 0; start < len(items); start += share {
		workers.Go(func() {
			for i := start; i < min(start+share, len(items)); i++ {
				it := &items[i]
				if k := s.byRevision[it.Revision]; k == nil || it.Meta != nil || it.Problem != k.reported {
					keys[i] = newKey(it)
				}
			}
		})
	}
	workers.Wait()
	return keys
}

// minShare is the least number of items worth a goroutine.
const minShare = 256

// markLaxer marks the heads of the given items that lack a restriction of another
// head of their item. Until the user resolves the conflict, no head that is looser
// than another is used. Of more than [keyring.MaxParents] heads, which no edit can
// resolve, none is used; they aren't compared, which would take quadratic time.
func markLaxer(keys []*Key, items map[id.Item]bool) (changed bool) {
	heads := make(map[id.Item][]*Key, len(items))
	for _, k := range keys {
		if items[k.item] {
			heads[k.item] = append(heads[k.item], k)
		}
	}
	for _, of := range heads {
		strictest := false
		for _, k := range of {
			laxer := len(of) > keyring.MaxParents || slices.ContainsFunc(of, func(other *Key) bool {
				return other != k && other.problem == "" && other.meta.Policy.Tightens(&k.meta.Policy)
			})
			changed = changed || laxer != k.laxer
			k.heads, k.laxer = len(of), laxer
			strictest = strictest || !laxer
		}
		for _, k := range of {
			k.unlisted = k.laxer && strictest
		}
	}
	return changed
}

// missingNames returns the names of the keys whose newer revisions aren't in the
// vault file, each once.
func (n *snapshot) missingNames() (names []string) {
	if len(n.missing) == 0 {
		return nil
	}
	known := make(map[id.Item]string, len(n.keys))
	for _, k := range n.keys {
		known[k.item] = cmp.Or(k.meta.Name, known[k.item])
	}
	told := make(map[id.Item]bool)
	for _, m := range n.missing {
		if !told[m.Item] {
			told[m.Item] = true
			names = append(names, cmp.Or(known[m.Item], "item "+m.Item.String()))
		}
	}
	return names
}

// heads returns the heads of an item.
func (n *snapshot) heads(item id.Item) (heads []id.Revision) {
	for _, k := range n.keys {
		if k.item == item {
			heads = append(heads, k.revision)
		}
	}
	return heads
}
