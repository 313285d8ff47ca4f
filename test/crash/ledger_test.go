//go:build linux && amd64

package crash

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ledger is what vigilctl has reported. Each name belongs to one writer, so
// that its changes follow one another.
type ledger struct {
	mu    sync.Mutex
	items map[string]*item
}

// item is what may be true of a key.
type item struct {
	mayBeThere, mayBeGone bool
	public                string // authorized_keys line; "" until reported
	comments              map[string]bool
	// open says that a change ended without a report: nothing else is tried on
	// it until a restart has shown what became of it.
	open bool
}

// key is one of vigilctl's JSON.
type key struct {
	ID        string `json:"id"`
	Revision  string `json:"revision"`
	Name      string `json:"name"`
	Comment   string `json:"comment"`
	PublicKey string `json:"public_key"`
}

func newLedger() *ledger { return &ledger{items: map[string]*item{}} }

// adding says that an addition is about to be tried.
func (l *ledger) adding(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[name] = &item{mayBeThere: true, mayBeGone: true, open: true}
}

func (l *ledger) added(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[k.Name] = &item{mayBeThere: true, public: k.PublicKey, comments: map[string]bool{k.Comment: true}}
}

func (l *ledger) editing(name, comment string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[name].comments[comment], l.items[name].open = true, true
}

func (l *ledger) edited(name, comment string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[name].comments, l.items[name].open = map[string]bool{comment: true}, false
}

func (l *ledger) removing(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[name].mayBeGone, l.items[name].open = true, true
}

func (l *ledger) removed(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[name].mayBeThere, l.items[name].open = false, false
}

// known returns the names with the given prefix that are there for certain.
func (l *ledger) known(prefix string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name, i := range l.items {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix && i.mayBeThere && !i.mayBeGone && !i.open {
			names = append(names, name)
		}
	}
	slices.Sort(names) // so that a seed repeats its choices
	return names
}

// check compares what a vault lists with what was reported. With settled, as
// after a restart of the daemon, nothing is under way, and what is found is
// from then on what must be found.
func (l *ledger) check(listed []key, settled bool) (faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	found := map[string]key{}
	for _, k := range listed {
		if _, twice := found[k.Name]; twice {
			fault("%s is listed twice", k.Name)
		}
		found[k.Name] = k
		if l.items[k.Name] == nil {
			fault("%s is listed and was never added", k.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.items)) {
		i := l.items[name]
		k, there := found[name]
		switch {
		case there && !i.mayBeThere:
			fault("%s came back", name)
		case !there && !i.mayBeGone:
			fault("%s is lost", name)
		case there && i.public != "" && k.PublicKey != i.public:
			fault("%s is another key", name)
		case there && i.public != "" && !i.comments[k.Comment]:
			fault("%s has the comment %q, reported were %q", name, k.Comment, slices.Sorted(maps.Keys(i.comments)))
		}
		if settled {
			i.mayBeThere, i.mayBeGone, i.open = there, !there, false
			i.public, i.comments = k.PublicKey, map[string]bool{k.Comment: true}
		}
	}
	return faults
}

// size is how many names were ever used.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}
