package keyring

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/internal/id"
)

// TestForksWithALaterEpoch: the backend shows each of two devices only its own
// writes. Both continue; the longer history must not replace what the other device
// saw.
func TestForksWithALaterEpoch(t *testing.T) {
	const t0 = 1_700_000_000
	m := vaultOf(t, newActor(1))
	base := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(2, 21)}}, t0)
	longer := func(d *Deks) *Deks { return apply(t, apply(t, d, m, Update{}, t0+9), m, Update{}, t0+9) }
	changed := dek(1, 11)
	changed.Line = id.Hash{1}

	tests := []struct {
		name   string
		seen   Update // what this device wrote
		others Update // what the other one did
		want   string // "": the other device's manifest is not a fork
	}{
		{"a removed item is back", Update{Remove: []id.Item{{15: 1}}}, Update{}, "was removed"},
		{"a saved item is gone", Update{Add: []DEK{dek(3, 31)}}, Update{}, "is gone"},
		{"an edit is gone", Update{Add: []DEK{dek(1, 12, 11)}}, Update{}, "in use again"},
		{"an edit is another's", Update{Add: []DEK{dek(1, 12, 11)}}, Update{Add: []DEK{dek(1, 13, 11)}}, "is gone"},
		{"both removed it", Update{Remove: []id.Item{{15: 1}}}, Update{Remove: []id.Item{{15: 1}}}, ""},
		{"nothing was written here", Update{}, Update{Add: []DEK{dek(1, 13, 11)}, Remove: []id.Item{{15: 2}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mine := apply(t, base, m, tt.seen, t0+1)
			theirs := longer(apply(t, base, m, tt.others, t0+1))
			if err := theirs.Extends(mine.Pin()); err != nil {
				t.Fatalf("by its numbers it is a later one: %v", err)
			}
			err := theirs.Follows(mine)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantStage(t, err, StageFork)
			if !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("says %q, want %q", err, tt.want)
			}
			// A continuation is not a fork.
			if err := longer(mine).Follows(mine); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("a revision has become another", func(t *testing.T) {
		other := apply(t, NewDeks(m), m, Update{Add: []DEK{changed, dek(2, 21)}}, t0)
		wantStage(t, longer(other).Follows(base), StageFork)
	})
}

// TestCollectedRevisionsAreNoFork: a device that was offline for long finds only the
// end of an item's history.
func TestCollectedRevisionsAreNoFork(t *testing.T) {
	const t0 = 1_700_000_000
	all := func(id.Item, id.Revision) bool { return true }
	m := vaultOf(t, newActor(1))
	away := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, t0)
	d, now := away, uint64(t0)
	for n := byte(12); n < 16; n++ {
		d = apply(t, d, m, Update{Add: []DEK{dek(1, n, n-1)}}, now)
		now += KeepSuperseded + 1
		next, _ := d.Collect(m, now+1, all)
		d = stored(t, next, m)
		if err := d.Follows(away); err != nil {
			t.Fatalf("with revision %d: %v", n, err)
		}
	}
	if len(d.All()) != 1 {
		t.Fatalf("%d revisions are left", len(d.All()))
	}
}

// TestEpochsDoNotRunOut: promise 10. The step between epochs is limited, and after a
// member has used up epochs, an owner's new KEK starts them from 1.
func TestEpochsDoNotRunOut(t *testing.T) {
	owner := newActor(1)
	m := vaultOf(t, owner)
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 1)
	far := d.next(m)
	far.epoch = d.epoch + MaxStep + 1
	leap := stored(t, far, m)
	wantStage(t, leap.Extends(d.Pin()), StageFork)
	if err := leap.Extends(DeksPin{}); err != nil {
		t.Fatalf("a device that has seen nothing: %v", err)
	}
	far.epoch = MaxEpoch
	last := stored(t, far, m)
	next, _, err := last.Apply(Update{}, m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Encode(owner, testMAC); err == nil {
		t.Fatal("a manifest that nobody could read was written")
	}
	m = grow(t, m, owner, MakeKEK{seals(2, owner)})
	fresh, err := last.Rewrap(m, func(e DEK) ([WrappedDEKSize]byte, error) { return e.Wrapped, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := stored(t, fresh, m); got.Epoch() != 1 || got.Extends(last.Pin()) != nil || got.Extends(d.Pin()) != nil {
		t.Fatalf("epoch %d under a new KEK doesn't go on", got.Epoch())
	}
}

// TestWhoMayWriteDeks: the old key of a removed or rekeyed identity is valid for one
// manifest only, the last accepted one; a reader's key never is.
func TestWhoMayWriteDeks(t *testing.T) {
	owner, member, reader := newActor(1), newActor(2), newActor(3)
	m := admit(t, admit(t, vaultOf(t, owner), owner, member, Member), owner, reader, Reader)
	write := func(by *actor, d *Deks) *Deks {
		t.Helper()
		b, err := d.Encode(by, testMAC)
		if err != nil {
			t.Fatal(err)
		}
		out, err := ParseDeks(b, m.Vault())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	base := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 1)
	good := write(member, base.next(m))
	if err := good.Verify(m, testMAC); err != nil {
		t.Fatalf("a member writes: %v", err)
	}
	wantStage(t, write(reader, base.next(m)).Verify(m, testMAC), StageAuthorisation)

	before, fresh := m, rekeyed(member.id, 22)
	went := map[string]*Members{
		"removed": grow(t, m, owner, RemoveIdentity{ID: member.id, Deks: good.Hash()}),
		"rekeyed": grow(t, m, member, Rekey{Public: fresh.pub, Block: fresh.block(), Seals: live(m, fresh), Deks: good.Hash()}),
	}
	for name, after := range went {
		t.Run(name, func(t *testing.T) {
			if err := good.Verify(after, testMAC); err != nil {
				t.Errorf("the last good manifest: %v", err)
			}
			later := write(member, good.next(before)) // it says that it was written before
			if err := later.Verify(before, testMAC); err != nil {
				t.Fatal(err)
			}
			if err := later.Verify(after, testMAC); StageOf(err) != StageAuthorisation && StageOf(err) != StageSignature {
				t.Errorf("what the old key signs afterwards: %v", err)
			}
		})
	}
}

// TestNobodyWritesUnderAKEKThatWasReplaced: between a removal and its rewrap, a
// write would wrap a new DEK by the KEK that the removed identity knows.
func TestNobodyWritesUnderAKEKThatWasReplaced(t *testing.T) {
	owner, member := newActor(1), newActor(2)
	m := admit(t, vaultOf(t, owner), owner, member, Member)
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 1)
	m = grow(t, m, owner, RemoveIdentity{ID: member.id, Deks: d.Hash()}, MakeKEK{seals(2, owner)})
	if err := d.Verify(m, testMAC); err != nil {
		t.Fatalf("what was written before goes on: %v", err)
	}
	if _, _, err := d.Apply(Update{Add: []DEK{dek(2, 21)}}, m, 2); err == nil {
		t.Error("an item was added under KEK 1")
	}
	b, err := d.next(m).Encode(owner, testMAC)
	if err != nil {
		t.Fatal(err)
	}
	under, err := ParseDeks(b, m.Vault())
	if err != nil {
		t.Fatal(err)
	}
	wantStage(t, under.Verify(m, testMAC), StageKEK)
}

// TestTwoChangesOfKeysInARow: the last manifest stays the same, and is signed by the
// first of the replaced keys.
func TestTwoChangesOfKeysInARow(t *testing.T) {
	owner := newActor(1)
	m := vaultOf(t, owner)
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 1)
	for by, n := owner, byte(21); n < 24; n++ {
		next := rekeyed(owner.id, n)
		m = grow(t, m, by, Rekey{Public: next.pub, Block: next.block(), Seals: live(m, next), Deks: d.Hash()})
		if err := d.Verify(m, testMAC); err != nil {
			t.Fatal(err)
		}
		by = next
	}
}

// TestNobodyNamesWhatTheyWillWrite: a change of keys names a manifest that its signer
// has prepared but not stored. That gains a reader nothing, and a member nothing
// after its removal.
func TestNobodyNamesWhatTheyWillWrite(t *testing.T) {
	owner, member, reader := newActor(1), newActor(2), newActor(3)
	m := admit(t, admit(t, vaultOf(t, owner), owner, member, Member), owner, reader, Reader)
	base := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 1)
	for name, who := range map[string]*actor{"reader": reader, "member": member} {
		t.Run(name, func(t *testing.T) {
			b, err := base.next(m).Encode(who, testMAC)
			if err != nil {
				t.Fatal(err)
			}
			prepared, err := ParseDeks(b, m.Vault())
			if err != nil {
				t.Fatal(err)
			}
			fresh := rekeyed(who.id, 40+who.id[15])
			after := grow(t, m, who, Rekey{Public: fresh.pub, Block: fresh.block(), Seals: live(m, fresh), Deks: prepared.Hash()})
			if who == reader {
				wantStage(t, prepared.Verify(after, testMAC), StageAuthorisation)
			}
			after = grow(t, after, owner, RemoveIdentity{ID: who.id, Deks: base.Hash()})
			wantStage(t, prepared.Verify(after, testMAC), StageAuthorisation)
		})
	}
}

// TestAnOldChangeThatWaitedIsNotMadeAgain: an attacker with an old copy of the device
// state restores a change that was stored, replaced and collected long ago.
func TestAnOldChangeThatWaitedIsNotMadeAgain(t *testing.T) {
	const t0 = 1_700_000_000
	m := vaultOf(t, newActor(1))
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(1, 12, 11), dek(1, 13, 12), dek(1, 14, 13)}}, t0)
	collected, _ := d.Collect(m, t0+KeepSuperseded+1, func(_ id.Item, r id.Revision) bool { return r[15] == 14 })
	d = stored(t, collected, m)
	for _, old := range []DEK{dek(1, 11), dek(1, 12, 11)} {
		next, refused, err := d.Apply(Update{Add: []DEK{old}}, m, t0)
		if err != nil || len(refused) != 1 || len(next.All()) != 1 {
			t.Errorf("revision %d: %v, %d refused, %d there", old.Revision[15], err, len(refused), len(next.All()))
		}
		if heads := slices.Collect(WithPending(d, Update{Add: []DEK{old}}).Heads()); len(heads) != 1 {
			t.Errorf("revision %d, while it waits: %d heads", old.Revision[15], len(heads))
		}
	}
}

// TestAChangeOfAPendingChange: while the backend can't be reached, a key is edited twice.
func TestAChangeOfAPendingChange(t *testing.T) {
	m := vaultOf(t, newActor(1))
	revision := func(n byte, parents ...id.Revision) DEK {
		return DEK{Item: id.Item{1}, Revision: id.Revision{n}, Parents: parents, Waits: n > 1}
	}
	d, _, err := NewDeks(m).Apply(Update{Add: []DEK{revision(1)}}, m, 1)
	if err != nil {
		t.Fatal(err)
	}
	u := Update{Add: []DEK{revision(2, id.Revision{1}), revision(3, id.Revision{2})}}
	if heads := slices.Collect(WithPending(d, u).Heads()); len(heads) != 1 || heads[0].Revision != (id.Revision{3}) {
		t.Errorf("in use: %v", heads)
	}
}

// TestLongHistoriesTakeNoLongTime: promise 10. A writer can fill the manifest with
// revisions that descend from each other. Comparing them must not keep a device, or
// the owner who removes the writer, busy for hours.
func TestLongHistoriesTakeNoLongTime(t *testing.T) {
	const (
		length = 20_000 // pairwise comparison would take minutes
		enough = 10 * time.Second
	)
	m := vaultOf(t, newActor(1))
	numbered := func(n uint32, parents ...uint32) DEK {
		e := DEK{Item: id.Item{15: 1}}
		binary.BigEndian.PutUint32(e.Revision[:], n)
		for _, p := range parents {
			var r id.Revision
			binary.BigEndian.PutUint32(r[:], p)
			e.Parents = append(e.Parents, r)
		}
		e.Parents = SortParents(e.Parents)
		return e
	}
	// Each descends from the two before it. The other manifest has none of the first
	// one's revisions, so it can't descend from it.
	filled := func(from uint32) *Deks {
		d := NewDeks(m)
		for n := range uint32(length) {
			var parents []uint32
			for back := uint32(1); back <= min(n, 2); back++ {
				parents = append(parents, from+n-back)
			}
			if err := d.insert(numbered(from+n, parents...)); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	old, other := filled(1), filled(1+length)
	began := time.Now()
	if err := old.Follows(old); err != nil {
		t.Error(err)
	}
	wantStage(t, other.Follows(old), StageFork)
	old.supersede(1)
	held := func(_ id.Item, r id.Revision) bool { return true }
	if n := len(old.collectible(1+KeepSuperseded+1, held)); n != length-1 {
		t.Errorf("%d revisions can be collected, want %d", n, length-1)
	}
	if took := time.Since(began); took > enough {
		t.Errorf("took %v", took)
	}
}
