// Package ringtest makes complete vaults for tests: a keyring with real seals,
// signatures and MACs, a vault file, and all their secrets, so that a test can forge
// what an attacker could.
package ringtest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// Now is when a World changes its keyring, in Unix seconds.
const Now = 1_700_000_000

// Person is an identity with its private keys.
type Person struct {
	Identity keyring.Identity
	Seeds    []byte
	Halves   *envelope.Halves
}

// NewPerson makes an identity of the given role.
func NewPerson(t testing.TB, role keyring.Role) *Person {
	t.Helper()
	p := &Person{Identity: keyring.Identity{ID: id.NewIdentity(), Role: role}, Seeds: make([]byte, envelope.HalvesSize)}
	p.Halves = must(envelope.GenerateHalves(p.Identity.ID, p.Seeds))(t)
	p.Identity.Public = must(p.Halves.Public())(t)
	return p
}

// Rekeyed returns the same identity with other keys.
func (p *Person) Rekeyed(t testing.TB) *Person {
	t.Helper()
	q := &Person{Identity: p.Identity, Seeds: make([]byte, envelope.HalvesSize)}
	q.Halves = must(envelope.GenerateHalves(q.Identity.ID, q.Seeds))(t)
	q.Identity.Public = must(q.Halves.Public())(t)
	return q
}

// Block returns an unlock block that can't be opened: rings get the private keys directly.
func (p *Person) Block() keyring.UnlockBlock {
	var salt [keyring.KDFSaltSize]byte
	rand.Read(salt[:])
	return keyring.UnlockBlock{Identity: p.Identity.ID, KDF: keyring.DefaultKDF(salt), Master: "local", Share: []byte("wrapped share")}
}

// Seal seals a KEK to the person.
func (p *Person) Seal(t testing.TB, kek []byte, vault id.Vault, version uint64) keyring.Seal {
	t.Helper()
	return must(envelope.SealKEK(kek, p.Identity, vault, version))(t)
}

// World is a vault with all its secrets. Its methods change it as a device would.
// Fields may be read, and must be copied before a change.
type World struct {
	t testing.TB

	Owner   *Person
	KEKs    map[uint64][]byte
	Members *keyring.Members
	Deks    *keyring.Deks
	File    *vaultfile.File
}

// New creates a vault with one owner and no items.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, Owner: NewPerson(t, keyring.Owner), KEKs: map[uint64][]byte{1: Random32()}}
	f := must(keyring.Found(w.Owner.Halves, w.Owner.Identity.Public, [16]byte(Random32())))(t)
	w.Members = must(f.Complete(w.Owner.Seal(t, w.KEKs[1], f.Vault(), 1), w.Owner.Block()))(t)
	w.File = vaultfile.New(f.Vault())
	w.Deks = w.Store(keyring.NewDeks(w.Members))
	return w
}

// Vault returns the vault's id.
func (w *World) Vault() id.Vault { return w.Members.Vault() }

// MAC authenticates deks; it is a keyring.MACFunc.
func (w *World) MAC(version uint64, hash id.Hash) ([keyring.MACSize]byte, error) {
	return envelope.DeksMAC(w.KEKs[version], w.Vault(), version, hash)
}

// Encode returns a manifest as stored by the owner.
func (w *World) Encode(d *keyring.Deks) []byte {
	w.t.Helper()
	return must(d.Encode(w.Owner.Halves, w.MAC))(w.t)
}

// Store encodes a manifest and reads it back.
func (w *World) Store(d *keyring.Deks) *keyring.Deks {
	w.t.Helper()
	return must(keyring.ParseDeks(w.Encode(d), w.Vault()))(w.t)
}

// Objects are the stored bytes.
type Objects struct{ Members, Deks, File []byte }

// Objects returns the current objects.
func (w *World) Objects() Objects {
	w.t.Helper()
	return Objects{Members: w.Members.Encode(), Deks: w.Encode(w.Deks), File: must(w.File.Encode())(w.t)}
}

// Pins returns the pins of a device that has accepted the current objects.
func (w *World) Pins() keyring.Pins {
	return keyring.Pins{Members: w.Members.Pin(), Deks: w.Store(w.Deks).Pin()}
}

// Append adds records signed by the owner.
func (w *World) Append(changes ...keyring.Change) {
	w.t.Helper()
	w.Members = must(w.Members.Append(w.Owner.Halves, changes...))(w.t)
}

// Admit makes a person a member and seals every live KEK to them.
func (w *World) Admit(p *Person) {
	w.t.Helper()
	w.Append(keyring.AddIdentity{ID: p.Identity.ID, Role: p.Identity.Role, Public: p.Identity.Public, Block: p.Block(), Seals: w.SealLive(p)})
}

// SealLive seals every live KEK to a person.
func (w *World) SealLive(p *Person) (seals []keyring.Seal) {
	w.t.Helper()
	for _, version := range w.Members.KEKs() {
		seals = append(seals, p.Seal(w.t, w.KEKs[version], w.Vault(), version))
	}
	return seals
}

// Update changes the manifest.
func (w *World) Update(u keyring.Update) {
	w.t.Helper()
	next, deleted, err := w.Deks.Apply(u, w.Members, Now)
	if err != nil || len(deleted) > 0 {
		w.t.Fatalf("update deks: %v, %d deleted elsewhere", err, len(deleted))
	}
	w.Deks = w.Store(next)
}

// Written is a revision: its line, its DEK, and that DEK unwrapped.
type Written struct {
	Line   vaultfile.Revision
	DEK    keyring.DEK
	Opened []byte
}

// Seal makes a revision of an item under the manifest's KEK. It doesn't store it.
func (w *World) Seal(item id.Item, name string, public, secret []byte, parents ...id.Revision) Written {
	w.t.Helper()
	return w.SealUnder(w.Deks.KEK(), item, name, public, secret, parents...)
}

// SealUnder is Seal under a chosen KEK.
func (w *World) SealUnder(kek uint64, item id.Item, name string, public, secret []byte, parents ...id.Revision) Written {
	w.t.Helper()
	meta := must((&vaultfile.Meta{Name: name, Created: Now, Public: public}).Encode())(w.t)
	b := envelope.Binding{Vault: w.Vault(), Item: item, Revision: id.NewRevision(), Parents: keyring.SortParents(parents)}
	r := Written{Opened: Random32()}
	r.Line = vaultfile.Revision{
		Item: item, Revision: b.Revision, Parents: b.Parents,
		Meta: must(envelope.SealMeta(r.Opened, b, meta))(w.t), Secret: must(envelope.SealSecret(r.Opened, b, secret))(w.t),
	}
	r.DEK = keyring.DEK{Item: item, Revision: b.Revision, Parents: b.Parents, Line: r.Line.Sum()}
	if err := envelope.WrapDEK(&r.DEK, w.KEKs[kek], r.Opened, b.Vault, kek); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// Push stores revisions.
func (w *World) Push(revisions ...Written) {
	w.t.Helper()
	var u keyring.Update
	lines := make([]vaultfile.Revision, 0, len(revisions))
	for _, r := range revisions {
		u.Add = append(u.Add, r.DEK)
		lines = append(lines, r.Line)
	}
	w.File = w.File.Add(lines...)
	w.Update(u)
}

// Add makes and stores a revision.
func (w *World) Add(item id.Item, name string, public, secret []byte, parents ...id.Revision) Written {
	w.t.Helper()
	r := w.Seal(item, name, public, secret, parents...)
	w.Push(r)
	return r
}

// MakeKEK adds a KEK sealed to the owner and to people.
func (w *World) MakeKEK(people ...*Person) {
	w.t.Helper()
	version := w.Members.KEK() + 1
	w.KEKs[version] = Random32()
	var seals []keyring.Seal
	for _, p := range append(people, w.Owner) {
		seals = append(seals, p.Seal(w.t, w.KEKs[version], w.Vault(), version))
	}
	w.Append(keyring.MakeKEK{Seals: seals})
}

// Lines returns an object's lines with their line feeds.
func Lines(object []byte) [][]byte { return slices.Collect(bytes.Lines(object)) }

// Rewrap wraps the manifest's DEKs by the newest KEK.
func (w *World) Rewrap() {
	w.t.Helper()
	from, to := w.Deks.KEK(), w.Members.KEK()
	next := must(w.Deks.Rewrap(w.Members, func(e keyring.DEK) ([keyring.WrappedDEKSize]byte, error) {
		dek := make([]byte, envelope.KeySize)
		if err := envelope.UnwrapDEK(dek, &e, w.KEKs[from], w.Vault(), from); err != nil {
			return e.Wrapped, err
		}
		err := envelope.WrapDEK(&e, w.KEKs[to], dek, w.Vault(), to)
		return e.Wrapped, err
	}))(w.t)
	w.Deks = w.Store(next)
}

// Resign returns a deks object as written by anyone who knows a KEK: with a new MAC
// and signature in its last line.
func Resign(t testing.TB, vault id.Vault, version uint64, kek []byte, by keyring.Signer, object []byte) []byte {
	t.Helper()
	lines := Lines(object)
	body := bytes.Join(lines[:len(lines)-1], nil)
	hash := id.HashOf(body)
	mac := must(envelope.DeksMAC(kek, vault, version, hash))(t)
	sig := must(by.Sign(keyring.DeksMessage(hash)))(t)
	text := base64.RawURLEncoding.EncodeToString
	return fmt.Appendf(body, "{\"mac\":\"%s\",\"sig\":\"%s\"}\n", text(mac[:]), text(sig))
}

// Random32 returns 32 random bytes.
func Random32() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// must returns a function that returns v, or fails the test for err.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
