// Package merge tests that vault files which people sync in their own ways
// come together: random histories of devices that are offline for long, real
// git, and files moved as sync tools move them.
package merge

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

const (
	devices   = 3
	steps     = 60
	histories = 150
)

// history is what happened, as the devices' users remember it.
type history struct {
	t       *testing.T
	r       *rand.Rand
	world   *ringtest.World
	backend *keyring.Deks
	devices [devices]*device

	parents map[id.Revision][]id.Revision
	itemOf  map[id.Revision]id.Item
	removed map[id.Item]bool
	refused map[id.Revision]bool // edits that met a tombstone
}

// device is a file, the manifest it saw last, and what waits for the backend.
type device struct {
	file    *vaultfile.File
	seen    *keyring.Deks
	offline bool
	waiting keyring.Update
}

func newHistory(t *testing.T, seed uint64) *history {
	w := ringtest.New(t)
	h := &history{
		t: t, r: rand.New(rand.NewPCG(seed, 0)), world: w,
		parents: map[id.Revision][]id.Revision{}, itemOf: map[id.Revision]id.Item{},
		removed: map[id.Item]bool{}, refused: map[id.Revision]bool{},
	}
	h.backend = h.store(keyring.NewDeks(w.Members))
	for i := range h.devices {
		h.devices[i] = &device{file: vaultfile.New(w.Vault()), seen: h.backend}
	}
	return h
}

// store is what a backend gives back: encoded, parsed and verified.
func (h *history) store(d *keyring.Deks) *keyring.Deks {
	h.t.Helper()
	object, err := d.Encode(h.world.Owner.Halves, h.world.MAC)
	if err != nil {
		h.t.Fatal(err)
	}
	parsed, err := keyring.ParseDeks(object, h.world.Vault())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := parsed.Verify(h.world.Members, h.world.MAC); err != nil {
		h.t.Fatal(err)
	}
	return parsed
}

// manifest is what the device goes by.
func (d *device) manifest() *keyring.Pending { return keyring.WithPending(d.seen, d.waiting) }

// ready returns the revisions that the device lists: one whose successor has not
// arrived, too.
func (d *device) ready() (list []vaultfile.Revision) {
	for i, state := range d.file.See(d.manifest(), nil).States {
		if state == vaultfile.Ready || state == vaultfile.Outdated {
			list = append(list, d.file.Lines()[i].Decode())
		}
	}
	return list
}

// write makes a change as the daemon does: to the backend, or to what waits.
func (h *history) write(d *device, u keyring.Update, lines ...vaultfile.Revision) {
	d.waiting.Add = append(d.waiting.Add, u.Add...)
	d.waiting.Remove = append(d.waiting.Remove, u.Remove...)
	d.file = d.file.Add(lines...)
	if !d.offline {
		h.push(d)
	}
}

// push stores what waits, and prunes the file by what is stored then.
func (h *history) push(d *device) {
	next, deleted, err := h.backend.Apply(d.waiting, h.world.Members, 1)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range deleted {
		h.refused[e.Revision] = true
	}
	h.backend = h.store(next)
	d.seen, d.waiting = h.backend, keyring.Update{}
	d.file = d.file.Prune(d.manifest(), nil)
}

// revision makes a revision with ciphertext that isn't opened here.
func (h *history) revision(item id.Item, parents []id.Revision) (vaultfile.Revision, keyring.DEK) {
	parents = keyring.SortParents(parents)
	v := vaultfile.Revision{
		Item: item, Revision: id.NewRevision(), Parents: parents,
		Meta: make([]byte, 592), Secret: make([]byte, 592),
	}
	h.parents[v.Revision], h.itemOf[v.Revision] = parents, item
	return v, keyring.DEK{Item: item, Revision: v.Revision, Parents: parents, Line: v.Sum()}
}

func (h *history) step() {
	d := h.devices[h.r.IntN(devices)]
	ready := d.ready()
	switch n := h.r.IntN(10); {
	case n < 3 || len(ready) == 0:
		v, e := h.revision(id.NewItem(), nil)
		h.write(d, keyring.Update{Add: []keyring.DEK{e}}, v)
	case n < 6:
		h.edit(d, ready)
	case n < 7:
		item := ready[h.r.IntN(len(ready))].Item
		h.removed[item] = true
		h.write(d, keyring.Update{Remove: []id.Item{item}})
	case n < 8:
		if d.offline = !d.offline; !d.offline {
			h.push(d)
		}
	default: // a sync tool brings another device's file, or an old copy of it
		other := h.devices[h.r.IntN(devices)]
		merged, err := vaultfile.Merge(d.file, other.file)
		if err != nil {
			h.t.Fatal(err)
		}
		d.file = merged
	}
}

// edit replaces every head that the device shows of an item.
func (h *history) edit(d *device, ready []vaultfile.Revision) {
	item := ready[h.r.IntN(len(ready))].Item
	var heads []id.Revision
	for i := range ready {
		if ready[i].Item == item {
			heads = append(heads, ready[i].Revision)
		}
	}
	v, e := h.revision(item, heads)
	h.write(d, keyring.Update{Add: []keyring.DEK{e}}, v)
}

// settle brings every device online and every file to every device.
func (h *history) settle() {
	for _, d := range h.devices {
		d.offline = false
		h.push(d)
	}
	all := h.devices[0].file
	for _, d := range h.devices[1:] {
		merged, err := vaultfile.Merge(all, d.file)
		if err != nil {
			h.t.Fatal(err)
		}
		all = merged
	}
	for _, d := range h.devices {
		d.seen = h.backend
		d.file = all.Prune(d.manifest(), nil)
	}
}

// expected are the revisions that must be listed in the end: those that nothing
// replaced, of items that nobody removed.
func (h *history) expected() (list []string) {
	replaced := map[id.Revision]bool{}
	for v, parents := range h.parents {
		if !h.refused[v] {
			for _, p := range parents {
				replaced[p] = true
			}
		}
	}
	for v, item := range h.itemOf {
		if !replaced[v] && !h.removed[item] {
			list = append(list, v.String())
		}
	}
	slices.Sort(list)
	return list
}

func (d *device) listed() (list []string) {
	for _, v := range d.ready() {
		list = append(list, v.Revision.String())
	}
	slices.Sort(list)
	return list
}

// Whatever three devices did, offline for long or not: in the end all show the
// same, nothing that was saved is lost, and nothing that was removed is back.
func TestRandomHistoriesComeTogether(t *testing.T) {
	for seed := range uint64(histories) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			h := newHistory(t, seed)
			for range steps {
				h.step()
			}
			h.settle()
			want := h.expected()
			if len(h.itemOf) == 0 {
				t.Fatal("a history in which nothing happened")
			}
			for i, d := range h.devices {
				if got := d.listed(); !slices.Equal(got, want) {
					t.Errorf("device %d lists %d revisions, want %d:\n got %v\nwant %v", i, len(got), len(want), got, want)
				}
				if !bytes.Equal(d.file.EncodeAll(), h.devices[0].file.EncodeAll()) {
					t.Errorf("device %d has another file than device 0", i)
				}
			}
		})
	}
}
