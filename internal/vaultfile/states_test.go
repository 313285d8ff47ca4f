package vaultfile

import (
	"bytes"
	"iter"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
)

// entry returns a manifest's entry for a revision.
func entry(v Revision) keyring.DEK {
	return keyring.DEK{Item: v.Item, Revision: v.Revision, Parents: v.Parents, Line: v.Sum()}
}

func has(f *File, v Revision) bool {
	e := entry(v)
	return f.Has(&e)
}

// manifest is a Manifest in a map.
type manifest struct {
	deks map[id.Revision]keyring.DEK
	dead map[id.Item]bool
}

func (m manifest) Lookup(r id.Revision) *keyring.DEK {
	if e, ok := m.deks[r]; ok {
		return &e
	}
	return nil
}
func (m manifest) Deleted(i id.Item) bool { return m.dead[i] }
func (m manifest) Heads() iter.Seq[*keyring.DEK] {
	return func(yield func(*keyring.DEK) bool) {
		for _, e := range m.deks {
			if e.Superseded == 0 && !yield(&e) {
				return
			}
		}
	}
}

func manifestOf(dead []byte, revisions ...Revision) manifest {
	m := manifest{map[id.Revision]keyring.DEK{}, map[id.Item]bool{}}
	for _, v := range revisions {
		m.deks[v.Revision] = entry(v)
	}
	for _, v := range revisions {
		for _, p := range v.Parents {
			if e, ok := m.deks[p]; ok {
				e.Superseded = 1
				m.deks[p] = e
			}
		}
	}
	for _, item := range dead {
		m.dead[id.Item{15: item}] = true
	}
	return m
}

// tightening marks a revision as restricting use further than its parents.
func (m manifest) tightening(v Revision) manifest {
	e := m.deks[v.Revision]
	e.Tightens = true
	m.deks[v.Revision] = e
	return m
}

func TestSee(t *testing.T) {
	a, b, c, rival := rev(1, 1), rev(1, 2, 1), rev(1, 3, 2), rev(1, 4, 1)
	damaged := func(v *Line) bool { return v.Revision != c.Revision }
	forged := rev(1, 9, 1, 2, 3)
	beside := c
	beside.Meta = bytes.Repeat([]byte{7}, minSealed)
	another := b
	another.Meta = beside.Meta
	tests := []struct {
		name    string
		file    []Revision
		m       manifest
		opens   func(*Line) bool
		want    map[byte]State
		missing []byte
		held    bool
	}{
		{"one", []Revision{a}, manifestOf(nil, a), nil, map[byte]State{1: Ready}, nil, false},
		{"edited", []Revision{a, b}, manifestOf(nil, a, b), nil, map[byte]State{1: Superseded, 2: Ready}, nil, false},
		{"a gap in the file", []Revision{a, c}, manifestOf(nil, a, b, c), nil, map[byte]State{1: Superseded, 3: Ready}, nil, false},
		{"two heads", []Revision{a, b, rival}, manifestOf(nil, a, b, rival), nil, map[byte]State{1: Superseded, 2: Ready, 4: Ready}, nil, false},
		{"key not here yet", []Revision{a, b}, manifestOf(nil, a), nil, map[byte]State{1: Ready, 2: WaitingForKey}, nil, false},
		{"ciphertext not here yet", []Revision{a}, manifestOf(nil, a, b), nil, map[byte]State{1: Outdated}, []byte{2}, false},
		{"a stricter one not here yet", []Revision{a}, manifestOf(nil, a, b).tightening(b), nil, map[byte]State{1: Outdated}, []byte{2}, true},
		{"a stricter one not here, nor its successor", []Revision{a}, manifestOf(nil, a, b, c).tightening(b), nil, map[byte]State{1: Outdated}, []byte{3}, true},
		{"a stricter one here, its successor not", []Revision{a, b}, manifestOf(nil, a, b, c).tightening(b), nil, map[byte]State{1: Superseded, 2: Outdated}, []byte{3}, false},
		{"a stricter rival not here", []Revision{a, b}, manifestOf(nil, a, b, rival).tightening(rival), nil, map[byte]State{1: Superseded, 2: Ready}, []byte{4}, true},
		{"a rival not here", []Revision{a, b}, manifestOf(nil, a, b, rival), nil, map[byte]State{1: Superseded, 2: Ready}, []byte{4}, false},
		{"a rival not here, and a line twice", []Revision{a, b, b}, manifestOf(nil, a, b, rival), nil, map[byte]State{1: Superseded, 2: Ready}, []byte{4}, false},
		{"nothing of it here", nil, manifestOf(nil, a, b).tightening(b), nil, map[byte]State{}, []byte{2}, true},
		{"no keyring at all", []Revision{a, b}, manifestOf(nil), nil, map[byte]State{1: WaitingForKey, 2: WaitingForKey}, nil, false},
		{"deleted", []Revision{a, b}, manifestOf([]byte{1}), nil, map[byte]State{1: Deleted, 2: Deleted}, nil, false},
		{"successor damaged", []Revision{b, c}, manifestOf(nil, b, c), damaged, map[byte]State{2: Outdated, 3: Unusable}, []byte{3}, false},
		{"a forged line claims all", []Revision{b, c, forged}, manifestOf(nil, b, c), nil, map[byte]State{2: Superseded, 3: Ready, 9: WaitingForKey}, nil, false},
		{"another line of what was replaced", []Revision{another, c}, manifestOf(nil, b, c), nil, map[byte]State{2: Superseded, 3: Ready}, nil, false},
		{"another line of the revision", []Revision{b, beside}, manifestOf(nil, b, c), nil, map[byte]State{2: Outdated, 3: Unusable}, []byte{3}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := New(testVault).Add(tt.file...)
			kept, view := f.Prune(tt.m, tt.opens), f.See(tt.m, tt.opens)
			for i, got := range view.States {
				v := f.Lines()[i].Decode()
				if want := tt.want[v.Revision[15]]; got != want {
					t.Errorf("revision %d is %v, want %v", v.Revision[15], got, want)
				}
				if keep := got != Superseded && got != Deleted; has(kept, v) != keep {
					t.Errorf("revision %d, %v: kept is %v", v.Revision[15], got, !keep)
				}
			}
			var missing []byte
			for _, e := range view.Missing {
				missing = append(missing, e.Revision[15])
			}
			if !bytes.Equal(missing, tt.missing) || view.Held[id.Item{15: 1}] != tt.held {
				t.Errorf("missing %v, held %v; want %v, %v", missing, view.Held, tt.missing, tt.held)
			}
		})
	}
	t.Run("a line beside the genuine one", func(t *testing.T) {
		f := New(testVault).Add(c, beside)
		if got := f.Prune(manifestOf(nil, b, c), nil).Lines(); len(got) != 1 || got[0].Sum != c.Sum() {
			t.Fatalf("%d lines are kept, want the genuine one", len(got))
		}
	})
}

// counted is a Manifest that counts lookups.
type counted struct {
	manifest
	lookups *int
}

func (m counted) Lookup(r id.Revision) *keyring.DEK {
	*m.lookups++
	return m.manifest.Lookup(r)
}

// TestSeeLooksAtEachRevisionOnce: promise 10. However many heads of a long history
// are missing, each ancestor is visited once.
func TestSeeLooksAtEachRevisionOnce(t *testing.T) {
	const length, heads = 200, 50
	m := manifestOf(nil)
	add := func(n int, parent int) {
		e := keyring.DEK{Item: id.Item{15: 1}, Revision: id.Revision{byte(n >> 8), byte(n)}}
		if parent > 0 {
			e.Parents = []id.Revision{{byte(parent >> 8), byte(parent)}}
		}
		m.deks[e.Revision] = e
	}
	for n := 1; n <= length; n++ {
		add(n, n-1)
		e := m.deks[id.Revision{byte(n >> 8), byte(n)}]
		e.Superseded = 1
		m.deks[e.Revision] = e
	}
	for n := range heads {
		add(length+1+n, length)
	}
	lookups := 0
	view := New(testVault).See(counted{m, &lookups}, nil)
	if len(view.Missing) != heads || lookups > length+heads {
		t.Errorf("%d heads are missing after %d lookups, want %d and at most %d", len(view.Missing), lookups, heads, length+heads)
	}
}
