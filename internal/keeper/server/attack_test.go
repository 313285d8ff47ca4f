package server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// stored is a vault with history, as an attacker finds it who can read and write all
// storage and has old copies: KEK 1 retired and KEK 2 live, an owner and a member,
// two edited items and a removed one.
type stored struct {
	*world
	member *ringtest.Person
	before ringtest.Objects // from before the rotation
	// old are the members at that time, for forks.
	old     *keyring.Members
	removed ringtest.Written
}

func newStored(t *testing.T) *stored {
	t.Helper()
	w := &stored{world: newWorld(t, ed25519Key(t), ed25519Key(t), ed25519Key(t)), member: ringtest.NewPerson(t, keyring.Member)}
	w.Admit(w.member)
	w.removed = w.items[2]
	w.Update(keyring.Update{Remove: []id.Item{w.removed.Line.Item}})
	w.File = w.File.Prune(w.Deks, nil)
	w.before, w.old = w.Objects(), w.Members
	w.MakeKEK(w.member)
	w.Rewrap()
	w.Append(keyring.RetireKEK{Version: 1})
	return w
}

// attack is what replaces the stored objects.
type attack struct {
	name   string
	want   error
	stage  keyring.Stage // expected in the error; empty: none
	change func(o *ringtest.Objects)
}

// TestAttacksOnWhatIsStored presents every attack to a keeper that has the good state
// loaded, to one that has only the device's pins and, where that suffices to detect
// it, to one on a new device.
func TestAttacksOnWhatIsStored(t *testing.T) {
	w := newStored(t)
	good, pins := w.Objects(), w.Pins()
	serving, l := opened(t, w.world)
	fresh := unlocked(t, w.world, w.Owner)
	keys := map[uint64]sample{
		number(t, l, w.items[0].Line.Revision): w.keys[0],
		number(t, l, w.items[1].Line.Revision): w.keys[1],
	}
	for _, a := range slices.Concat(membersAttacks(t, w), deksAttacks(t, w), fileAttacks(w)) {
		t.Run(a.name, func(t *testing.T) {
			o := good
			a.change(&o)
			if bytes.Equal(o.Members, good.Members) && bytes.Equal(o.Deks, good.Deks) && bytes.Equal(o.File, good.File) {
				t.Fatal("the attack changed nothing")
			}
			for name, c := range map[string]*keeper.Client{"serving": serving, "just unlocked": fresh} {
				_, err := loadObjects(t, c, pins, o)
				if !errors.Is(err, a.want) {
					t.Fatalf("%s: got %v, want %v", name, err, a.want)
				}
				if a.stage != "" && !strings.Contains(err.Error(), string(a.stage)+":") {
					t.Fatalf("%s: refused with %q, want stage %q", name, err, a.stage)
				}
			}
			for key, s := range keys {
				signsWith(t, serving, key, s)
			}
			_, err := fresh.SealDraft(t.Context(), 1, id.NewItem(), nil)
			if err == nil {
				t.Fatal("it seals under a keyring that was refused")
			}
		})
	}
	// No attack changed what is loaded.
	for name, c := range map[string]*keeper.Client{"serving": serving, "just unlocked": fresh} {
		l, err := loadObjects(t, c, pins, good)
		if err != nil || len(l.Items) != 2 || l.Pins != pins {
			t.Fatalf("%s: the good state afterwards: %v", name, err)
		}
	}
}

func sub(data []byte, old, to string) []byte {
	return bytes.Replace(data, []byte(old), []byte(to), 1)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// flip changes the first character after mark, keeping it base64url.
func flip(data []byte, mark string) []byte {
	out := bytes.Clone(data)
	i := bytes.Index(out, []byte(mark)) + len(mark)
	if out[i] == 'A' {
		out[i] = 'B'
	} else {
		out[i] = 'A'
	}
	return out
}

// insertRecord inserts a line after the last record.
func insertRecord(m *keyring.Members, line []byte) []byte {
	return bytes.Join(slices.Insert(ringtest.Lines(m.Encode()), len(m.Records())+1, line), nil)
}

func signed(t *testing.T, by *ringtest.Person, body string) []byte {
	sig := must(by.Halves.Sign(keyring.RecordMessage([]byte(body))))(t)
	return fmt.Appendf(nil, "{\"body\":%s,\"sig\":\"%s\"}\n", body, b64(sig))
}

func membersAttacks(t *testing.T, w *stored) []attack {
	m := w.Members
	good := m.Encode()
	stranger := ringtest.NewPerson(t, keyring.Owner)
	other := ringtest.New(t)
	addStranger := func(by id.Identity) string {
		return fmt.Sprintf(`{"seq":%d,"prev":"%v","by":"%v","kind":"%s","identity":"%v","role":"owner","hpke":"%s","ed25519":"%s","unlock":"%v","seals":[{"kek":2,"sha256":"%v"}]}`,
			len(m.Records()), m.Head(), by, keyring.IdentityAdded, stranger.Identity.ID,
			b64(stranger.Identity.Public.HPKE[:]), b64(stranger.Identity.Public.Ed25519[:]), id.Hash{1}, id.Hash{2})
	}
	// The attacker's own KEK sealed to every identity, in place of the real seals.
	reseal := bytes.Clone(good)
	for _, p := range []*ringtest.Person{w.Owner, w.member} {
		real, _ := m.Seal(2, p.Identity.ID)
		theirs := p.Seal(t, ringtest.Random32(), w.Vault(), 2)
		reseal = sub(reseal, b64(real.Sealed[:]), b64(theirs.Sealed[:]))
	}
	fork := w.old
	for len(fork.Records()) <= len(m.Records()) {
		fork = must(fork.Append(w.Owner.Halves, keyring.ChangeMaster{Block: w.Owner.Block()}))(t)
	}
	members := func(name string, want error, stage keyring.Stage, data []byte) attack {
		return attack{"members: " + name, want, stage, func(o *ringtest.Objects) { o.Members = data }}
	}
	return []attack{
		members("own KEK sealed to every identity", keeper.ErrDamaged, keyring.StageBlocks, reseal),
		members("an owner added without a signature", keeper.ErrDamaged, keyring.StageSignature,
			insertRecord(m, fmt.Appendf(nil, "{\"body\":%s,\"sig\":\"%s\"}\n", addStranger(w.Owner.Identity.ID), strings.Repeat("A", 86)))),
		members("an owner added by a stranger in the owner's name", keeper.ErrDamaged, keyring.StageSignature,
			insertRecord(m, signed(t, stranger, addStranger(w.Owner.Identity.ID)))),
		members("an owner added by a stranger", keeper.ErrDamaged, keyring.StageAuthorisation,
			insertRecord(m, signed(t, stranger, addStranger(stranger.Identity.ID)))),
		members("an owner added by a member", keeper.ErrDamaged, keyring.StageAuthorisation,
			insertRecord(m, signed(t, w.member, addStranger(w.member.Identity.ID)))),
		members("another vault's", keeper.ErrDamaged, keyring.StageVault, other.Members.Encode()),
		members("another vault's under this one's header", keeper.ErrDamaged, keyring.StageVault,
			slices.Concat(ringtest.Lines(good)[0], bytes.Join(ringtest.Lines(other.Members.Encode())[1:], nil))),
		members("a record of another vault", keeper.ErrDamaged, keyring.StageChain,
			insertRecord(m, ringtest.Lines(other.Members.Encode())[2])),
		members("a record left out", keeper.ErrDamaged, keyring.StageChain,
			bytes.Join(slices.Delete(ringtest.Lines(good), 3, 4), nil)),
		members("a shorter chain", keeper.ErrRollback, keyring.StageRollback, w.old.Encode()),
		members("a forked chain", keeper.ErrRollback, keyring.StageFork, fork.Encode()),
		members("KDF memory changed", keeper.ErrDamaged, keyring.StageBlocks, sub(good, `"memory":262144`, `"memory":65536`)),
		members("KDF passes changed", keeper.ErrDamaged, keyring.StageBlocks, sub(good, `"time":3`, `"time":4`)),
		members("KDF salt changed", keeper.ErrDamaged, keyring.StageBlocks, flip(good, `"salt":"`)),
		members("wrapped share changed", keeper.ErrDamaged, keyring.StageBlocks, flip(good, `"share":"`)),
		members("sealed halves changed", keeper.ErrDamaged, keyring.StageBlocks, flip(good, `"halves":"`)),
		members("a seal missing", keeper.ErrDamaged, keyring.StageBlocks,
			bytes.Join(slices.DeleteFunc(ringtest.Lines(good), func(l []byte) bool {
				return bytes.HasPrefix(l, []byte(`{"seal":`)) && bytes.Contains(l, []byte(w.Owner.Identity.ID.String()))
			}), nil)),
		members("empty", keeper.ErrDamaged, keyring.StageSyntax, nil),
		members("cut", keeper.ErrDamaged, keyring.StageSyntax, good[:len(good)-1]),
		members("a later version", keeper.ErrDamaged, keyring.StageVersion, sub(good, `"version":1`, `"version":2`)),
	}
}

func deksAttacks(t *testing.T, w *stored) []attack {
	good := w.Encode(w.Deks)
	lines := ringtest.Lines(good)
	epoch := func(data []byte, add uint64, kek uint64) []byte {
		return sub(data, fmt.Sprintf(`"kek":2,"epoch":%d`, w.Deks.Epoch()), fmt.Sprintf(`"kek":%d,"epoch":%d`, kek, w.Deks.Epoch()+add))
	}
	resign := func(version uint64, kek []byte, by *ringtest.Person, data []byte) []byte {
		return ringtest.Resign(t, w.Vault(), version, kek, by.Halves, data)
	}
	// mac signs as a member would, or someone with a member's stolen keys.
	mac := func(version uint64, kek, data []byte) []byte { return resign(version, kek, w.Owner, data) }
	stranger := ringtest.NewPerson(t, keyring.Owner)
	next := epoch(good, 1, 2)
	wrapped := func(i int) string {
		_, after, _ := bytes.Cut(lines[i], []byte(`"dek":"`))
		dek, _, _ := bytes.Cut(after, []byte(`"`))
		return string(dek)
	}
	swapped := sub(sub(sub(next, wrapped(1), "\x00"), wrapped(2), wrapped(1)), "\x00", wrapped(2))
	own := ringtest.Random32()
	// The whole forgery by an attacker who knows only public keys: an own KEK sealed
	// to every identity, a higher epoch, and the right MAC for it.
	reseal := w.Members.Encode()
	for _, p := range []*ringtest.Person{w.Owner, w.member} {
		real, _ := w.Members.Seal(2, p.Identity.ID)
		theirs := p.Seal(t, own, w.Vault(), 2)
		reseal = sub(reseal, b64(real.Sealed[:]), b64(theirs.Sealed[:]))
	}
	deks := func(name string, want error, stage keyring.Stage, data []byte) attack {
		return attack{"deks: " + name, want, stage, func(o *ringtest.Objects) { o.Deks = data }}
	}
	return []attack{
		{"both: own KEK sealed to every identity, higher epoch, right MAC", keeper.ErrDamaged, keyring.StageBlocks, func(o *ringtest.Objects) {
			o.Members, o.Deks = reseal, mac(2, own, next)
		}},
		{"both: as they were before the rotation", keeper.ErrRollback, keyring.StageRollback, func(o *ringtest.Objects) {
			o.Members, o.Deks = w.before.Members, w.before.Deks
		}},
		deks("own KEK, higher epoch, right MAC", keeper.ErrDamaged, keyring.StageMAC, mac(2, own, next)),
		deks("own KEK as a new version", keeper.ErrDamaged, keyring.StageKEK, mac(3, own, epoch(good, 1, 3))),
		deks("the retired KEK, higher epoch", keeper.ErrRollback, keyring.StageRollback, mac(1, w.KEKs[1], epoch(good, 1, 1))),
		deks("as it was before the rotation", keeper.ErrRollback, keyring.StageRollback, w.before.Deks),
		deks("of the same epoch, with another content", keeper.ErrRollback, keyring.StageFork, mac(2, w.KEKs[2], sub(good, `"superseded":0`, `"superseded":1`))),
		deks("a DEK left out", keeper.ErrDamaged, keyring.StageSignature, bytes.Join(slices.Delete(ringtest.Lines(next), 1, 2), nil)),
		deks("two DEKs swapped", keeper.ErrDamaged, keyring.StageSignature, swapped),
		deks("the tombstone left out", keeper.ErrDamaged, keyring.StageSignature,
			bytes.Join(slices.DeleteFunc(ringtest.Lines(next), func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"tombstone"`)) }), nil)),
		deks("written on a record that isn't there", keeper.ErrDamaged, keyring.StageHead, mac(2, w.KEKs[2], sub(next, w.Deks.Head().String(), id.Hash{1}.String()))),
		deks("the KEK known, and no key of a member", keeper.ErrDamaged, keyring.StageSignature, resign(2, w.KEKs[2], stranger, next)),
		deks("the KEK known, by a stranger", keeper.ErrDamaged, keyring.StageAuthorisation,
			resign(2, w.KEKs[2], stranger, sub(next, w.Owner.Identity.ID.String(), stranger.Identity.ID.String()))),
		deks("another vault's", keeper.ErrDamaged, keyring.StageVault, func() []byte { o := ringtest.New(t); return o.Encode(o.Deks) }()),
		deks("empty", keeper.ErrDamaged, keyring.StageSyntax, nil),
		deks("without its MAC", keeper.ErrDamaged, keyring.StageSyntax, bytes.Join(lines[:len(lines)-1], nil)),
		deks("a bit of the MAC flipped", keeper.ErrDamaged, keyring.StageMAC, flip(mac(2, w.KEKs[2], next), `{"mac":"`)),
		deks("a later version", keeper.ErrDamaged, keyring.StageVersion, sub(good, `"version":1`, `"version":2`)),
	}
}

// fileAttacks make the vault file invalid for this vault. TestChangedLines covers
// changes within lines, which are found item by item.
func fileAttacks(w *stored) []attack {
	f := w.Objects().File
	file := func(name string, data []byte) attack {
		return attack{name: "file: " + name, want: keeper.ErrDamaged, change: func(o *ringtest.Objects) { o.File = data }}
	}
	return []attack{
		file("another vault's", sub(f, w.Vault().String(), id.Vault{1}.String())),
		file("without header", bytes.Join(ringtest.Lines(f)[1:], nil)),
		file("a later version", sub(f, `"version":1`, `"version":2`)),
		file("empty", nil),
	}
}

// TestChangedLines: changed lines of the vault file make only their items unusable,
// and no key is used as another.
func TestChangedLines(t *testing.T) {
	w := newStored(t)
	lines := ringtest.Lines(w.Objects().File)
	first, second := must(vaultfile.ParseLine(lines[1]))(t), must(vaultfile.ParseLine(lines[2]))(t)
	sampleOf := map[id.Item]sample{w.items[0].Line.Item: w.keys[0], w.items[1].Line.Item: w.keys[1]}
	with := func(change func(a, b *vaultfile.Revision)) []byte {
		a, b := first, second
		for _, r := range []*vaultfile.Revision{&a, &b} {
			r.Meta, r.Secret = bytes.Clone(r.Meta), bytes.Clone(r.Secret)
		}
		change(&a, &b)
		return slices.Concat(lines[0], a.Line(), b.Line())
	}
	// beside adds a forged line of each revision to the genuine lines.
	beside := func(change func(*vaultfile.Revision)) []byte {
		return append(with(func(_, _ *vaultfile.Revision) {}), with(func(a, b *vaultfile.Revision) { change(a); change(b) })...)
	}
	for _, tt := range []struct {
		name   string
		file   []byte
		usable int // of the two items
	}{
		{"nothing", with(func(_, _ *vaultfile.Revision) {}), 2},
		{"metadata swapped", with(func(a, b *vaultfile.Revision) { a.Meta, b.Meta = b.Meta, a.Meta }), 0},
		{"private keys swapped", with(func(a, b *vaultfile.Revision) { a.Secret, b.Secret = b.Secret, a.Secret }), 0},
		{"both swapped", with(func(a, b *vaultfile.Revision) {
			a.Meta, b.Meta, a.Secret, b.Secret = b.Meta, a.Meta, b.Secret, a.Secret
		}), 0},
		{"revisions swapped", with(func(a, b *vaultfile.Revision) { a.Revision, b.Revision = b.Revision, a.Revision }), 0},
		{"items swapped", with(func(a, b *vaultfile.Revision) { a.Item, b.Item = b.Item, a.Item }), 0},
		{"metadata as private key", with(func(a, _ *vaultfile.Revision) { a.Secret = a.Meta }), 1},
		{"private key as metadata", with(func(a, _ *vaultfile.Revision) { a.Meta = a.Secret }), 1},
		{"a bit of the metadata", with(func(a, _ *vaultfile.Revision) { a.Meta[80] ^= 1 }), 1},
		{"parents changed", with(func(a, _ *vaultfile.Revision) { a.Parents = []id.Revision{{1}} }), 1},
		{"revision nobody made", with(func(a, _ *vaultfile.Revision) { a.Revision = id.Revision{1} }), 1},
		{"the removed item is back", slices.Concat(lines[0], lines[1], lines[2], w.removed.Line.Line()), 2},
		{"lines twice", slices.Concat(lines[0], lines[1], lines[1], lines[2], lines[2]), 2},
		{"only the second", slices.Concat(lines[0], lines[2]), 1},
		{"forged lines beside them", beside(func(r *vaultfile.Revision) { r.Meta[80] ^= 1 }), 2},
		{"forged lines before them", beside(func(r *vaultfile.Revision) {
			r.Parents = nil
			r.Meta = bytes.Repeat([]byte{0}, len(r.Meta))
		}), 2},
		{"forged private keys beside them", beside(func(r *vaultfile.Revision) { r.Secret = bytes.Repeat([]byte{0xff}, len(r.Secret)) }), 2},
		{"forged private keys before them", beside(func(r *vaultfile.Revision) { r.Secret = bytes.Repeat([]byte{0}, len(r.Secret)) }), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := w.Objects()
			o.File = tt.file
			c := unlocked(t, w.world, w.Owner)
			l, err := loadObjects(t, c, w.Pins(), o)
			if err != nil {
				t.Fatal(err)
			}
			usable := 0
			for _, it := range l.Items {
				if it.Problem != "" {
					continue
				}
				sig, err := c.Sign(t.Context(), it.Key, []byte("data"), 0, nil)
				if err != nil {
					wantErr(t, err, keeper.ErrDamaged)
					continue
				}
				if err := verify(sampleOf[it.Item].public, []byte("data"), sig); err != nil {
					t.Fatalf("item %v signs with a key that isn't its own: %v", it.Item, err)
				}
				usable++
			}
			if twice := len(l.Items) - usable; strings.HasPrefix(tt.name, "forged") && twice != 0 {
				t.Fatalf("%d items more are offered", twice)
			}
			if usable != tt.usable {
				t.Fatalf("%d items sign, want %d", usable, tt.usable)
			}
		})
	}
}

// TestEveryFlippedBitIsSeen flips one bit in each character of what is stored. The
// keyring is refused as a whole; of the vault file, one line is.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	w := newStored(t)
	good, pins := w.Objects(), w.Pins()
	c, l := opened(t, w.world)
	key := number(t, l, w.items[0].Line.Revision)
	step := 37 // tests each field several times; every bit would take minutes
	for name, field := range map[string]func(*ringtest.Objects) *[]byte{
		"members": func(o *ringtest.Objects) *[]byte { return &o.Members },
		"deks":    func(o *ringtest.Objects) *[]byte { return &o.Deks },
	} {
		for at := 0; at < len(*field(&good)); at += step {
			o := good
			b := bytes.Clone(*field(&o))
			b[at] ^= 1 << (at % 8)
			*field(&o) = b
			if _, err := loadObjects(t, c, pins, o); !errors.Is(err, keeper.ErrDamaged) && !errors.Is(err, keeper.ErrRollback) {
				t.Fatalf("%s: bit %d of byte %d flipped: %v", name, at%8, at, err)
			}
		}
	}
	signsWith(t, c, key, w.keys[0])
	for at := 0; at < len(good.File); at += step {
		o := good
		o.File = bytes.Clone(good.File)
		o.File[at] ^= 1 << (at % 8)
		l, err := loadObjects(t, c, pins, o)
		if err != nil {
			wantErr(t, err, keeper.ErrDamaged)
			continue
		}
		usable := 0
		for _, it := range l.Items {
			if it.Problem == "" && sign(t, c, it.Key) == nil {
				usable++
			}
		}
		if usable != 1 {
			t.Fatalf("bit %d of byte %d of the file flipped: %d items sign, want the other one", at%8, at, usable)
		}
	}
	if _, err := loadObjects(t, c, pins, good); err != nil {
		t.Fatal(err)
	}
}
