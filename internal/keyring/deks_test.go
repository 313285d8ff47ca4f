package keyring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vigil/internal/id"
)

func TestDeksReadBackAsWritten(t *testing.T) {
	m := vaultOf(t, newActor(1))
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(2, 21), dek(1, 11), dek(1, 12, 11)}}, 1700000000)
	d = apply(t, d, m, Update{Remove: []id.Item{{15: 2}}}, 1700000001)
	if d.Epoch() != 3 || d.KEK() != 1 || d.Head() != m.Head() {
		t.Fatalf("epoch %d, KEK %d", d.Epoch(), d.KEK())
	}
	if got := d.Tombstones(); len(got) != 1 || got[0] != (id.Item{15: 2}) || !d.Deleted(id.Item{15: 2}) {
		t.Fatalf("tombstones are %v", got)
	}
	old := d.Lookup(id.Revision{15: 11})
	if old == nil || old.Superseded != 1700000000 {
		t.Fatalf("parent is %+v", old)
	}
	if heads := slices.Collect(d.Heads()); len(heads) != 1 || heads[0].Revision != (id.Revision{15: 12}) {
		t.Fatalf("heads are %v", heads)
	}
	if d.Has(id.Item{15: 2}, id.Revision{15: 21}) || !d.Has(id.Item{15: 1}, id.Revision{15: 12}) {
		t.Fatal("wrong revisions are there")
	}
}

func TestApply(t *testing.T) {
	m := vaultOf(t, newActor(1))
	base := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(2, 21)}}, 100)

	t.Run("twice is once", func(t *testing.T) {
		u := Update{Add: []DEK{dek(1, 12, 11)}, Remove: []id.Item{{15: 2}}}
		once := apply(t, base, m, u, 200)
		twice := apply(t, once, m, u, 300)
		if !slices.EqualFunc(once.All(), twice.All(), equalDEK) || !slices.Equal(once.Tombstones(), twice.Tombstones()) {
			t.Fatal("the second time changed something")
		}
	})
	t.Run("again on what another device wrote", func(t *testing.T) {
		mine := Update{Add: []DEK{dek(1, 12, 11)}}
		theirs := apply(t, base, m, Update{Add: []DEK{dek(1, 13, 11), dek(3, 31)}}, 200)
		both := apply(t, theirs, m, mine, 300)
		if len(both.All()) != 5 || len(slices.Collect(both.Heads())) != 4 {
			t.Fatalf("%d revisions, %d heads", len(both.All()), len(slices.Collect(both.Heads())))
		}
		if old := both.Lookup(id.Revision{15: 11}); old.Superseded != 200 {
			t.Fatalf("superseded at %d, want the first time", old.Superseded)
		}
	})
	t.Run("deleted elsewhere", func(t *testing.T) {
		gone := apply(t, base, m, Update{Remove: []id.Item{{15: 1}}}, 200)
		next, deleted, err := gone.Apply(Update{Add: []DEK{dek(1, 12, 11), dek(4, 41)}}, m, 300)
		if err != nil || len(deleted) != 1 || deleted[0].Revision != (id.Revision{15: 12}) {
			t.Fatalf("deleted elsewhere: %v, %v", deleted, err)
		}
		if !next.Has(id.Item{15: 4}, id.Revision{15: 41}) || next.Has(id.Item{15: 1}, id.Revision{15: 12}) {
			t.Fatal("the others should be added, the deleted one not")
		}
	})
	t.Run("late parent", func(t *testing.T) {
		d := apply(t, base, m, Update{Add: []DEK{dek(5, 52, 51)}}, 200)
		d = apply(t, d, m, Update{Add: []DEK{dek(5, 51)}}, 300)
		if late := d.Lookup(id.Revision{15: 51}); late.Superseded != 300 {
			t.Fatalf("superseded at %d, want 300", late.Superseded)
		}
	})
	t.Run("a clock that says 1970", func(t *testing.T) {
		d := apply(t, base, m, Update{Add: []DEK{dek(1, 12, 11)}}, 0)
		if old := d.Lookup(id.Revision{15: 11}); old.Superseded == 0 {
			t.Fatal("a superseded revision looks like a head")
		}
	})
	refused := []struct {
		name string
		add  DEK
		want error
	}{
		{"one that waits", DEK{Item: id.Item{15: 1}, Revision: id.Revision{15: 12}, Parents: []id.Revision{{15: 11}}, Waits: true}, ErrChange},
		{"another line", DEK{Item: id.Item{15: 1}, Revision: id.Revision{15: 11}}, ErrChange},
		{"another item's revision", dek(2, 11), ErrChange},
		{"other parents", dek(1, 11, 10), ErrChange},
		{"its own parent", dek(1, 14, 11, 14), ErrChange},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := base.Apply(Update{Add: []DEK{tt.add}}, m, 200); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func equalDEK(a, b DEK) bool {
	return a.Item == b.Item && a.Revision == b.Revision && slices.Equal(a.Parents, b.Parents) &&
		a.Line == b.Line && a.Tightens == b.Tightens && a.Wrapped == b.Wrapped && a.Superseded == b.Superseded
}

func TestRotation(t *testing.T) {
	owner := newActor(1)
	m := vaultOf(t, owner)
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(2, 21)}}, 100)
	before := d.Pin()

	m = grow(t, m, owner, MakeKEK{seals(2, owner)})
	if err := d.Verify(m, testMAC); err != nil {
		t.Fatalf("between the steps others must go on: %v", err)
	}
	rewrapped := 0
	next, err := d.Rewrap(m, func(e DEK) ([WrappedDEKSize]byte, error) {
		rewrapped++
		e.Wrapped[1] = 2
		return e.Wrapped, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	next = stored(t, next, m)
	if rewrapped != 2 || next.KEK() != 2 || next.Epoch() != 1 {
		t.Fatalf("rewrapped %d, KEK %d", rewrapped, next.KEK())
	}
	m = grow(t, m, owner, RetireKEK{1})
	if err := next.Verify(m, testMAC); err != nil {
		t.Fatal(err)
	}
	wantStage(t, d.Verify(m, testMAC), StageKEK)
	if err := next.Extends(before); err != nil {
		t.Fatal(err)
	}
	// A holder of KEK 1 only continues from the old object.
	forged := apply(t, d, vaultOf(t, owner), Update{}, 200)
	forged = apply(t, forged, vaultOf(t, owner), Update{}, 200)
	err = forged.Extends(next.Pin())
	wantStage(t, err, StageRollback)
	if !strings.Contains(err.Error(), "expected epoch 1 of KEK 2 or a later one, found epoch 4 of KEK 1") {
		t.Fatalf("error says %v", err)
	}
}

func TestDeksHistory(t *testing.T) {
	m := vaultOf(t, newActor(1))
	first := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11)}}, 100)
	second := apply(t, first, m, Update{Add: []DEK{dek(2, 21)}}, 100)
	rival := apply(t, first, m, Update{Add: []DEK{dek(3, 31)}}, 100)
	if err := second.Extends(DeksPin{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Extends(first.Pin()), second.Extends(second.Pin())); err != nil {
		t.Fatal(err)
	}
	wantStage(t, first.Extends(second.Pin()), StageRollback)
	wantStage(t, rival.Extends(second.Pin()), StageFork)
}

func TestCollect(t *testing.T) {
	const t0, late = 1_000_000, 1_000_000 + KeepSuperseded + 1
	m := vaultOf(t, newActor(1))
	// 11 → 12 → 13, and 21 → 22.
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(1, 12, 11), dek(2, 21)}}, t0)
	d = apply(t, d, m, Update{Add: []DEK{dek(1, 13, 12), dek(2, 22, 21)}}, t0+100)

	tests := []struct {
		name string
		now  uint64
		held []byte
		want []byte // revisions collected
	}{
		{"not yet", late - 1, []byte{13, 22}, nil},
		{"file has nothing", late + 100, nil, nil},
		{"file has only what is superseded", late + 100, []byte{11, 21}, nil},
		{"the oldest", late, []byte{13, 22}, []byte{11}},
		{"all of it", late + 100, []byte{13, 22}, []byte{11, 12, 21}},
		{"successor held, not its successor", late + 100, []byte{12}, []byte{11}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			held := func(_ id.Item, r id.Revision) bool { return slices.Contains(tt.held, r[15]) }
			next, gone := d.Collect(m, tt.now, held)
			var got []byte
			for _, e := range gone {
				got = append(got, e.Revision[15])
			}
			if !bytes.Equal(got, tt.want) {
				t.Fatalf("collected %v, want %v", got, tt.want)
			}
			if len(got) == 0 && next != d {
				t.Fatal("nothing collected, but another manifest")
			}
			if len(next.All()) != 5-len(tt.want) {
				t.Fatalf("%d left", len(next.All()))
			}
		})
	}
	t.Run("an ancestor that must stay keeps its descendants", func(t *testing.T) {
		d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 12, 11), dek(1, 13, 12)}}, t0)
		d = apply(t, d, m, Update{Add: []DEK{dek(1, 11)}}, t0+1000)
		if _, gone := d.Collect(m, late, func(id.Item, id.Revision) bool { return true }); len(gone) != 0 {
			t.Fatalf("collected %d", len(gone))
		}
	})
}

// TestDeksRefused changes stored bytes, one fault each. Where the name says so,
// the MAC is right, as if a holder of the KEK made the change.
func TestDeksRefused(t *testing.T) {
	m := vaultOf(t, newActor(1))
	other := vaultOf(t, newActor(2))
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(2, 21), dek(3, 31)}}, 100)
	d = apply(t, d, m, Update{Remove: []id.Item{{15: 3}}}, 100)
	b, err := d.Encode(writer(), testMAC)
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	body := strings.Join(lines[:len(lines)-1], "")
	resign := func(by *actor, kek uint64, body string) string {
		hash := id.HashOf([]byte(body))
		mac, _ := testMAC(kek, hash)
		sig, _ := by.Sign(DeksMessage(hash))
		return body + `{"mac":"` + id.Hash(mac).String() + `","sig":"` + b64(sig) + "\"}\n"
	}
	remac := func(kek uint64, body string) string { return resign(writer(), kek, body) }
	replace := func(old, to string) string { return strings.Replace(body, old, to, 1) }
	dekOf := func(line string) string {
		return line[strings.Index(line, `"dek"`):strings.Index(line, `,"superseded"`)]
	}
	swapped := strings.Replace(strings.Replace(strings.Replace(good, dekOf(lines[1]), "\x00", 1), dekOf(lines[2]), dekOf(lines[1]), 1), "\x00", dekOf(lines[2]), 1)

	tests := []struct {
		name string
		data string
		want Stage
	}{
		{"empty", "", StageSyntax},
		{"no MAC", body, StageSyntax},
		{"cut", good[:len(good)-1], StageSyntax},
		{"bytes after the MAC", good + "\n", StageSyntax},
		{"version 2", strings.Replace(good, `"version":1`, `"version":2`, 1), StageVersion},
		{"another vault", remac(1, replace(m.Vault().String(), other.Vault().String())), StageVault},
		{"a later epoch", strings.Replace(good, `"epoch":3`, `"epoch":9`, 1), StageSignature},
		{"a DEK left out", strings.Replace(good, lines[1], "", 1), StageSignature},
		{"two DEKs swapped", swapped, StageSignature},
		{"a tombstone left out", strings.Replace(good, lines[3], "", 1), StageSignature},
		{"a head made old", strings.Replace(good, `"superseded":0`, `"superseded":1`, 1), StageSignature},
		{"MAC of another KEK", remac(2, body), StageMAC},
		{"right MAC, a KEK nobody made", remac(2, replace(`"kek":1,"epoch":3`, `"kek":2,"epoch":3`)), StageKEK},
		{"right MAC, an epoch without end", remac(1, replace(`"epoch":3,`, `"epoch":4294967297,`)), StageSyntax},
		{"right MAC, neither tightened nor not", remac(1, replace(`"tightens":0`, `"tightens":2`)), StageSyntax},
		{"right MAC, signed by who isn't named", resign(newActor(2), 1, body), StageSignature},
		{"right MAC, written by a stranger", resign(newActor(2), 1, replace(writer().id.String(), newActor(2).id.String())), StageAuthorisation},
		{"right MAC, a head nobody wrote", remac(1, replace(m.Head().String(), other.Head().String())), StageHead},
		{"right MAC, epoch 0", remac(1, replace(`"epoch":3,`, `"epoch":0,`)), StageSyntax},
		{"right MAC, not sorted", remac(1, lines[0]+lines[2]+lines[1]+lines[3]), StageSyntax},
		{"right MAC, a line twice", remac(1, lines[0]+lines[1]+lines[1]+lines[2]+lines[3]), StageSyntax},
		{"right MAC, a revision twice", remac(1, strings.Replace(body, id.Revision{15: 21}.String(), id.Revision{15: 11}.String(), 1)), StageSyntax},
		{"right MAC, a deleted item's DEK", remac(1, strings.Replace(body, `{"tombstone":"`+(id.Item{15: 3}).String(), `{"tombstone":"`+(id.Item{15: 2}).String(), 1)), StageSyntax},
		{"white space", strings.Replace(good, `,"superseded"`, `, "superseded"`, 1), StageSyntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.data == good {
				t.Fatal("the fault changed nothing")
			}
			got, err := ParseDeks([]byte(tt.data), m.Vault())
			if err == nil {
				err = got.Verify(m, testMAC)
			}
			wantStage(t, err, tt.want)
		})
	}
	t.Run("not verified before it is stored", func(t *testing.T) {
		wantStage(t, NewDeks(m).Verify(m, testMAC), StageAuthorisation)
	})
}

func TestDeksFlippedBits(t *testing.T) {
	m := vaultOf(t, newActor(1))
	d := apply(t, NewDeks(m), m, Update{Add: []DEK{dek(1, 11), dek(1, 12, 11)}, Remove: []id.Item{{15: 2}}}, 100)
	good, err := d.Encode(writer(), testMAC)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	for at := range good {
		for bit := range 8 {
			bad[at] ^= 1 << bit
			if got, err := ParseDeks(bad, m.Vault()); err == nil && got.Verify(m, testMAC) == nil {
				t.Fatalf("bit %d of byte %d flipped: accepted", bit, at)
			}
			bad[at] = good[at]
		}
	}
}

func FuzzKeyringDeks(f *testing.F) {
	m := vaultOf(f, newActor(1))
	d := NewDeks(m)
	for _, u := range []Update{{}, {Add: []DEK{dek(1, 11), dek(2, 21)}}, {Add: []DEK{dek(1, 12, 11), dek(1, 13, 11)}}, {Remove: []id.Item{{15: 2}}}} {
		d = apply(f, d, m, u, 1700000000)
		b, err := d.Encode(writer(), testMAC)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseDeks(data, m.Vault())
		if err != nil {
			if StageOf(err) == "" {
				t.Fatalf("error without a stage: %v", err)
			}
			return
		}
		kept := func(uint64, id.Hash) ([MACSize]byte, error) { return got.mac, nil }
		again, err := got.Encode(asWritten{got}, kept)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted what is not canonical (%v)", err)
		}
	})
}

// asWritten signs a manifest with its present signature.
type asWritten struct{ d *Deks }

func (a asWritten) Identity() id.Identity       { return a.d.by }
func (a asWritten) Sign([]byte) ([]byte, error) { return a.d.sig[:], nil }

func bigDeks(b *testing.B, n int) ([]byte, *Members) {
	b.Helper()
	m := vaultOf(b, newActor(1))
	var u Update
	for i := range n {
		var e DEK
		binary.BigEndian.PutUint64(e.Item[:], rand.Uint64())
		binary.BigEndian.PutUint64(e.Revision[:], uint64(i)*0x9e3779b97f4a7c15)
		e.Parents = []id.Revision{{15: 1, 1: byte(i), 2: byte(i >> 8)}}
		u.Add = append(u.Add, e)
	}
	d, _, err := NewDeks(m).Apply(u, m, 1)
	if err != nil {
		b.Fatal(err)
	}
	data, err := d.Encode(writer(), testMAC)
	if err != nil {
		b.Fatal(err)
	}
	return data, m
}

func BenchmarkVerifyDeks10000(b *testing.B) {
	data, m := bigDeks(b, 10_000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		d, err := ParseDeks(data, m.Vault())
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Verify(m, testMAC); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddToDeks10000(b *testing.B) {
	data, m := bigDeks(b, 10_000)
	d, err := ParseDeks(data, m.Vault())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		next, _, err := d.Apply(Update{Add: []DEK{dek(1, 1)}}, m, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := next.Encode(writer(), testMAC); err != nil {
			b.Fatal(err)
		}
	}
}
