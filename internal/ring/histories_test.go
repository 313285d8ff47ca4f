package ring_test

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// depth is how many steps each history has. One more takes about twelve times as
// long: make histories goes further.
var depth = flag.Int("depth", 2, "how many steps of every history to take")

// TestEveryHistory takes, from a vault of two devices and an identity that can be
// removed, every sequence of steps up to a depth: writes, offline ones, removals,
// each write of a rotation by itself, changes of passphrase; what the removed
// identity forges; and a backend that shows a device what it likes. After each
// step it holds:
//
//   - removed items stay removed, and what a device reported as saved is in the
//     manifest that it uses (promises 6 and 7);
//   - nothing that the removed identity wrote after its removal is in the manifest
//     of a device that knows of the removal, and nothing that such a device writes
//     opens with a KEK that the removed identity knew (promise 10);
//   - whatever vault file a device is given, it doesn't use a revision that an edit
//     in its manifest has tightened (promise 9);
//   - an owner can remove, rotate and write, whatever was stored (promise 10).
func TestEveryHistory(t *testing.T) {
	for _, role := range []keyring.Role{keyring.Owner, keyring.Member} {
		t.Run("the other device's role is "+string(role), func(t *testing.T) {
			t.Parallel()
			h := newHistories(t, role)
			h.run(*depth)
			t.Logf("%d states and places of the owner", len(h.seen))
		})
	}
}

// stored are both objects of a keyring.
type stored struct{ members, deks []byte }

// device is one of the two honest devices.
type device struct {
	person  *ringtest.Person
	has     stored // accepted last
	waiting []keyring.DEK
	saved   []id.Item // reported as saved, and not removed here
	removed []id.Item
	refused bool // the last look was refused, and shown
}

// state is a vault and what each party has seen of it. It can be copied by value.
type state struct {
	shows   [2]stored // by the backend, to each device
	split   bool      // the backend shows each device its own
	devices [2]device
	// before is what the third identity saw last before its removal.
	before  stored
	forged  bool
	history string
}

// histories is the search: its constants, and the states visited.
type histories struct {
	t        *testing.T
	vault    id.Vault
	third    *ringtest.Person
	evil     id.Item // that the third identity forges
	first    stored
	item     ringtest.Written // there from the beginning
	stricter vaultfile.Revision

	mu     sync.Mutex
	seen   map[string]int // largest remaining depth at which a state was visited
	parsed map[string]any // verifying a chain again for each look would be most of the work

	start state
}

func newHistories(t *testing.T, role keyring.Role) *histories {
	w := ringtest.New(t)
	second, third := ringtest.NewPerson(t, role), ringtest.NewPerson(t, keyring.Member)
	w.Admit(second)
	w.Admit(third)
	item := w.Add(id.NewItem(), "first", []byte("public"), []byte("private"))
	o := w.Objects()
	h := &histories{
		t: t, vault: w.Vault(), third: third, evil: id.Item{0: 0xee}, item: item, first: stored{o.Members, o.Deks},
		stricter: vaultfile.Revision{Item: item.Line.Item, Revision: id.Revision{0: 7}, Parents: []id.Revision{item.Line.Revision}, Meta: item.Line.Meta, Secret: item.Line.Secret},
		seen:     map[string]int{}, parsed: map[string]any{},
	}
	w.KEKs = nil // from here on every device opens them itself
	s := state{shows: [2]stored{h.first, h.first}}
	for i, p := range []*ringtest.Person{w.Owner, second} {
		s.devices[i] = device{person: p, has: h.first, saved: []id.Item{item.Line.Item}}
	}
	h.start = s
	return h
}

func (h *histories) run(depth int) {
	tasks := make(chan state)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		slab, err := guard.NewSlab(64 << 10)
		if err != nil {
			h.t.Fatal(err)
		}
		workers.Go(func() {
			defer slab.Close()
			for s := range tasks {
				(&walker{h, slab}).walk(s, depth-1)
			}
		})
	}
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		h.t.Fatal(err)
	}
	defer slab.Close()
	for _, step := range steps() {
		s := h.start.copy()
		if step.do(&walker{h, slab}, &s) {
			s.history = step.name
			tasks <- s
		}
	}
	close(tasks)
	workers.Wait()
}

// walker goes through histories with guarded memory of its own.
type walker struct {
	*histories
	slab *guard.Slab
}

func (w *walker) walk(s state, left int) {
	if !w.enter(&s, left) || left == 0 || w.t.Failed() {
		return
	}
	for _, step := range steps() {
		next := s.copy()
		if step.do(w, &next) {
			next.history += ", " + step.name
			w.walk(next, left-1)
		}
	}
}

// enter checks a new state, and reports whether to continue from it: it wasn't
// visited before with as many steps left.
func (w *walker) enter(s *state, left int) bool {
	key := w.describe(s)
	w.mu.Lock()
	best, was := w.seen[key]
	if w.seen[key] = max(best, left); !was {
		defer w.check(s)
	}
	defer w.mu.Unlock()
	return !was || left > best
}

func (s *state) copy() state {
	c := *s
	for i := range c.devices {
		d := &c.devices[i]
		d.waiting, d.saved, d.removed = slices.Clone(d.waiting), slices.Clone(d.saved), slices.Clone(d.removed)
	}
	return c
}

// step is one event. It returns false if it can't happen in this state.
type step struct {
	name string
	do   func(w *walker, s *state) bool
}

// steps are all possible events.
func steps() (list []step) {
	for i := range 2 {
		each := func(name string, do func(w *walker, s *state, i int) bool) {
			list = append(list, step{fmt.Sprintf("%c %s", 'A'+i, name), func(w *walker, s *state) bool { return do(w, s, i) }})
		}
		each("looks", func(w *walker, s *state, i int) bool { return w.open(s, i, func(*ring.Ring) {}) })
		each("adds", func(w *walker, s *state, i int) bool { return w.write(s, i, w.newItem(s, i)) })
		each("tightens", func(w *walker, s *state, i int) bool { return w.write(s, i, w.tighten) })
		each("removes", func(w *walker, s *state, i int) bool { return w.write(s, i, w.remove(s, i)) })
		each("adds offline", (*walker).addOffline)
		each("rewraps", func(w *walker, s *state, i int) bool { return w.put(s, i, "deks", (*ring.Ring).Rewrap) })
		each("changes its passphrase", (*walker).rekey)
		each("is shown the other's", func(_ *walker, s *state, i int) bool { return s.show(i, s.shows[1-i]) })
		each("is shown the first deks", func(w *walker, s *state, i int) bool { return s.show(i, stored{s.shows[i].members, w.first.deks}) })
		each("is shown the first of both", func(w *walker, s *state, i int) bool { return s.show(i, w.first) })
		each("is shown what the removed one forges", (*walker).forge)
	}
	owner := func(name string, do func(w *walker, s *state) bool) { list = append(list, step{"A " + name, do}) }
	owner("makes a KEK", func(w *walker, s *state) bool {
		return w.put(s, 0, "members", func(r *ring.Ring) ([]byte, error) { return r.NewKEK() })
	})
	owner("retires KEKs", func(w *walker, s *state) bool { return w.put(s, 0, "members", (*ring.Ring).Retire) })
	owner("removes the third", (*walker).removeThird)
	list = append(list, step{"each is shown its own", func(_ *walker, s *state) bool {
		was := s.split
		s.split = true
		return !was
	}})
	return list
}

// show makes the backend show a device something else from now on.
func (s *state) show(i int, o stored) bool {
	if string(s.shows[i].members) == string(o.members) && string(s.shows[i].deks) == string(o.deks) {
		return false
	}
	s.split = true
	s.shows[i] = o
	return true
}

// check checks the promises in a state.
func (w *walker) check(s *state) {
	for i := range s.devices {
		d := &s.devices[i]
		members, deks := w.read(d.has)
		there := func(item id.Item) bool {
			return slices.ContainsFunc(deks.All(), func(e keyring.DEK) bool { return e.Item == item })
		}
		for _, item := range d.saved {
			if !there(item) && !deks.Deleted(item) {
				w.t.Errorf("%s: device %c has lost what it saved", s.history, 'A'+i)
			}
		}
		for _, item := range d.removed {
			if there(item) {
				w.t.Errorf("%s: on device %c a removed item is back", s.history, 'A'+i)
			}
		}
		if members.Removed(w.third.Identity.ID) && there(w.evil) {
			w.t.Errorf("%s: device %c knows of the removal and takes what the removed identity wrote", s.history, 'A'+i)
		}
		w.checkServed(s, deks)
	}
	w.checkOwner(s)
}

// checkServed checks the first item with a vault file from before it was tightened.
func (w *walker) checkServed(s *state, deks *keyring.Deks) {
	if deks.Lookup(w.stricter.Revision) == nil {
		return
	}
	view := vaultfile.New(w.vault).Add(w.item.Line).See(deks, nil)
	if view.States[0] != vaultfile.Deleted && !view.Held[w.item.Line.Item] {
		w.t.Errorf("%s: a revision serves that was tightened", s.history)
	}
}

// checkOwner has the owner remove, rotate and write, starting from what it is shown
// or, if it refuses that, from what it has accepted.
func (w *walker) checkOwner(s *state) {
	d := &s.devices[0]
	key := strings.Join([]string{string(s.shows[0].members), string(s.shows[0].deks), string(d.has.members), string(d.has.deks)}, "|")
	if sum := id.HashOf([]byte(key)).String(); w.done(sum) {
		return // with what the other device does meanwhile, nothing changes for this one
	}
	for _, from := range []stored{s.shows[0], {s.shows[0].members, d.has.deks}, d.has} {
		r := w.ring(d.person)
		err := r.Load(from.members, from.deks, w.known(d), keyring.Update{})
		if err == nil {
			w.act(s, r, from)
		}
		r.Close()
		if err == nil {
			return
		}
	}
	w.t.Errorf("%s: the owner can't act", s.history)
}

// done reports whether it was called with key before.
func (w *walker) done(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, was := w.seen[key]
	w.seen[key] = 0
	return was
}

func (w *walker) act(s *state, r *ring.Ring, o stored) {
	load := func(what string, data []byte, err error) {
		if err == nil && data != nil {
			if what == "members" {
				o.members = data
			} else {
				o.deks = data
			}
			err = r.Load(o.members, o.deks, keyring.Known{}, keyring.Update{})
		}
		if err != nil {
			w.t.Errorf("%s: the owner can't go on: %v", s.history, err)
		}
	}
	var data []byte
	var err error
	if _, there := r.Members().Identity(w.third.Identity.ID); there {
		data, err = r.RemoveIdentities(w.third.Identity.ID)
	} else {
		data, err = r.NewKEK()
	}
	load("members", data, err)
	data, err = r.Rewrap()
	load("deks", data, err)
	data, err = r.Retire()
	load("members", data, err)
	data, _, err = r.Apply(keyring.Update{}, ringtest.Now)
	load("deks", data, err)
	if len(r.Members().KEKs()) != 1 {
		w.t.Errorf("%s: KEKs %v are live after a rotation", s.history, r.Members().KEKs())
	}
}

// describe distinguishes states, with names in place of random ids.
func (w *walker) describe(s *state) string {
	var b strings.Builder
	object := func(o stored) {
		members, deks := w.read(o)
		for _, r := range members.Records() {
			fmt.Fprintf(&b, "%s%v%d,", r.Kind, r.Identity == s.devices[0].person.Identity.ID, r.KEK)
		}
		fmt.Fprintf(&b, " %d.%d by%v on%d:", deks.KEK(), deks.Epoch(), deks.By() == s.devices[0].person.Identity.ID, slices.IndexFunc(members.Records(), func(r keyring.Record) bool { return r.Hash() == deks.Head() }))
		items := []string{}
		for _, e := range deks.All() {
			items = append(items, fmt.Sprintf("%x%v%v", e.Item[:2], e.Tightens, e.Superseded != 0))
		}
		for _, item := range deks.Tombstones() {
			items = append(items, fmt.Sprintf("-%x", item[:2]))
		}
		slices.Sort(items)
		fmt.Fprintln(&b, items)
	}
	object(s.shows[0])
	object(s.shows[1])
	fmt.Fprintln(&b, s.split, s.forged, s.before.members != nil)
	for i := range s.devices {
		d := &s.devices[i]
		object(d.has)
		fmt.Fprintln(&b, len(d.waiting), d.saved, d.removed, d.refused)
	}
	return b.String()
}
