package envelope_test

import (
	"crypto/rand"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// person is an identity with everything that only it should know.
type person struct {
	t          testing.TB
	id         id.Identity
	passphrase string
	share      []byte
	kdf        keyring.KDF
	halves     *envelope.Halves
	public     keyring.Public
}

func newPerson(t testing.TB, passphrase string) *person {
	t.Helper()
	p := &person{t: t, id: id.NewIdentity(), passphrase: passphrase, share: random32()}
	p.kdf = keyring.KDF{Name: keyring.KDFName, Memory: keyring.MinKDFMemory, Time: keyring.MinKDFTime, Lanes: 4}
	rand.Read(p.kdf.Salt[:])
	p.halves = must(envelope.GenerateHalves(p.id, make([]byte, envelope.HalvesSize)))(t)
	p.public = must(p.halves.Public())(t)
	return p
}

func random32() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// must reads as: the value, or the test fails.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (p *person) block(vault id.Vault) keyring.UnlockBlock {
	p.t.Helper()
	argon := must(deriveOnce(p.passphrase, p.kdf))(p.t)
	key := make([]byte, 32)
	if err := envelope.UnlockKey(key, p.share, argon, vault, p.id, p.kdf); err != nil {
		p.t.Fatal(err)
	}
	sealed := must(envelope.SealHalves(key, p.halves, vault))(p.t)
	return keyring.UnlockBlock{Identity: p.id, KDF: p.kdf, Master: "local", Share: []byte("wrapped share"), Halves: sealed}
}

func (p *person) seal(kek []byte, vault id.Vault, version uint64) keyring.Seal {
	p.t.Helper()
	return must(envelope.SealKEK(kek, keyring.Identity{ID: p.id, Public: p.public}, vault, version))(p.t)
}

func (p *person) factors(w *world) factors {
	return factors{
		Vault: w.m.Vault(), Identity: p.id, Passphrase: p.passphrase, Share: p.share,
		MembersPin: w.m.Pin(), DeksPin: w.d.Pin(),
	}
}

// world is a vault with history: an owner and a member, KEK 1 retired and KEK 2
// live, item A edited once, item B with two heads, item C deleted.
type world struct {
	t             testing.TB
	owner, member *person
	keks          map[uint64][]byte
	m             *keyring.Members
	d             *keyring.Deks
	file          *vaultfile.File
	a, b, c       id.Item

	// Earlier states, as an attacker who keeps copies has them.
	oldMembers *keyring.Members
	oldDeks    []byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, owner: newPerson(t, "correct horse battery staple"), member: newPerson(t, "Käse, Å and 🔑"),
		keks: map[uint64][]byte{1: random32(), 2: random32()},
		a:    id.NewItem(), b: id.NewItem(), c: id.NewItem(),
	}
	f := must(keyring.Found(w.owner.halves, w.owner.public, [16]byte(random32())))(t)
	w.m = must(f.Complete(w.owner.seal(w.keks[1], f.Vault(), 1), w.owner.block(f.Vault())))(t)
	vault := f.Vault()
	w.file = vaultfile.New(vault)
	w.d = w.store(keyring.NewDeks(w.m))
	first := w.write(w.a, "a key", 1)
	forked := w.write(w.b, "b key", 1)
	w.write(w.c, "c key", 1)
	w.oldMembers = w.m
	w.m = must(w.m.Append(w.owner.halves,
		keyring.AddIdentity{
			ID: w.member.id, Role: keyring.Member, Public: w.member.public, Block: w.member.block(vault),
			Seals: []keyring.Seal{w.member.seal(w.keks[1], vault, 1)},
		}))(t)
	edited := w.revision(w.a, "a key, edited", 1, first)
	edited.dek.Tightens = true
	w.push(edited)
	left, right := w.revision(w.b, "b key, left", 1, forked), w.revision(w.b, "b key, right", 1, forked)
	w.push(left, right)
	w.d = w.apply(keyring.Update{Remove: []id.Item{w.c}})
	w.oldDeks = w.encode(w.d)
	w.rotate()
	w.file = w.file.Prune(w.d, nil)
	return w
}

func (w *world) rotate() {
	w.t.Helper()
	vault := w.m.Vault()
	w.m = must(w.m.Append(w.owner.halves, keyring.MakeKEK{Seals: []keyring.Seal{
		w.owner.seal(w.keks[2], vault, 2), w.member.seal(w.keks[2], vault, 2),
	}}))(w.t)
	w.d = w.store(must(w.d.Rewrap(w.m, func(e keyring.DEK) ([keyring.WrappedDEKSize]byte, error) {
		dek := make([]byte, 32)
		if err := envelope.UnwrapDEK(dek, &e, w.keks[1], vault, 1); err != nil {
			return e.Wrapped, err
		}
		err := envelope.WrapDEK(&e, w.keks[2], dek, vault, 2)
		return e.Wrapped, err
	}))(w.t))
	w.m = must(w.m.Append(w.owner.halves, keyring.RetireKEK{Version: 1}))(w.t)
}

func (w *world) mac(kek uint64, hash id.Hash) ([32]byte, error) {
	return envelope.DeksMAC(w.keks[kek], w.m.Vault(), kek, hash)
}

// encode is what the owner stores. Ed25519 signs the same alike, so it is always
// the same object.
func (w *world) encode(d *keyring.Deks) []byte {
	w.t.Helper()
	return must(d.Encode(w.owner.halves, w.mac))(w.t)
}

// store encodes and reads back.
func (w *world) store(d *keyring.Deks) *keyring.Deks {
	w.t.Helper()
	d = must(keyring.ParseDeks(w.encode(d), w.m.Vault()))(w.t)
	if err := d.Verify(w.m, w.mac); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) apply(u keyring.Update) *keyring.Deks {
	w.t.Helper()
	next, _, err := w.d.Apply(u, w.m, 1700000000)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.store(next)
}

// written is a new revision: its line and its DEK.
type written struct {
	line vaultfile.Revision
	dek  keyring.DEK
}

func (w *world) revision(item id.Item, name string, kek uint64, parents ...id.Revision) written {
	w.t.Helper()
	b := envelope.Binding{Vault: w.m.Vault(), Item: item, Revision: id.NewRevision(), Parents: keyring.SortParents(parents)}
	meta := must((&vaultfile.Meta{Name: name, Comment: "Käse", Created: 1700000000, Public: []byte("public key of " + name)}).Encode())(w.t)
	return w.seal(b, kek, meta, []byte("private key of "+name))
}

func (w *world) seal(b envelope.Binding, kek uint64, meta, secret []byte) written {
	w.t.Helper()
	dek := random32()
	line := vaultfile.Revision{
		Item: b.Item, Revision: b.Revision, Parents: b.Parents,
		Meta:   must(envelope.SealMeta(dek, b, meta))(w.t),
		Secret: must(envelope.SealSecret(dek, b, secret))(w.t),
	}
	e := keyring.DEK{Item: b.Item, Revision: b.Revision, Parents: b.Parents, Line: line.Sum()}
	if err := envelope.WrapDEK(&e, w.keks[kek], dek, b.Vault, kek); err != nil {
		w.t.Fatal(err)
	}
	return written{line, e}
}

func (w *world) push(revisions ...written) {
	w.t.Helper()
	var u keyring.Update
	for _, r := range revisions {
		u.Add = append(u.Add, r.dek)
		w.file = w.file.Add(r.line)
	}
	w.d = w.apply(u)
}

func (w *world) write(item id.Item, name string, kek uint64, parents ...id.Revision) id.Revision {
	w.t.Helper()
	r := w.revision(item, name, kek, parents...)
	w.push(r)
	return r.line.Revision
}

func (w *world) objects() objects {
	w.t.Helper()
	return objects{vault: must(w.file.Encode())(w.t), members: w.m.Encode(), deks: w.encode(w.d)}
}
