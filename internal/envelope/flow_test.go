package envelope_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// founder is one identity on one device: what the opener has in hand while it
// makes a vault, in guarded memory as in the real thing.
type founder struct {
	id                        id.Identity
	share, argon, unlock, kek []byte
	halves                    *envelope.Halves
	public                    keyring.Public
	kdf                       keyring.KDF
}

func guarded(t testing.TB) func(n int) []byte {
	t.Helper()
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slab.Close() })
	return func(n int) []byte {
		b, err := slab.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
}

func newFounder(t testing.TB, alloc func(int) []byte) *founder {
	t.Helper()
	f := &founder{id: id.NewIdentity(), share: alloc(32), argon: alloc(32), unlock: alloc(32), kek: alloc(32)}
	rand.Read(f.share)
	rand.Read(f.argon)
	rand.Read(f.kek)
	var salt [16]byte
	rand.Read(salt[:])
	f.kdf = keyring.DefaultKDF(salt)
	var err error
	if f.halves, err = envelope.GenerateHalves(f.id, alloc(envelope.HalvesSize)); err != nil {
		t.Fatal(err)
	}
	if f.public, err = f.halves.Public(); err != nil {
		t.Fatal(err)
	}
	return f
}

// block makes the founder's unlock block for a vault.
func (f *founder) block(t testing.TB, vault id.Vault) keyring.UnlockBlock {
	t.Helper()
	if err := envelope.UnlockKey(f.unlock, f.share, f.argon, vault, f.id, f.kdf); err != nil {
		t.Fatal(err)
	}
	sealed, err := envelope.SealHalves(f.unlock, f.halves, vault)
	if err != nil {
		t.Fatal(err)
	}
	return keyring.UnlockBlock{Identity: f.id, KDF: f.kdf, Master: "local", Share: []byte("wrapped share"), Halves: sealed}
}

// found makes a vault as init does.
func found(t testing.TB, f *founder) *keyring.Members {
	t.Helper()
	founding, err := keyring.Found(f.halves, f.public, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	vault := founding.Vault()
	seal, err := envelope.SealKEK(f.kek, keyring.Identity{ID: f.id, Public: f.public}, vault, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := founding.Complete(seal, f.block(t, vault))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (f *founder) mac(vault id.Vault) keyring.MACFunc {
	return func(version uint64, hash id.Hash) ([32]byte, error) {
		return envelope.DeksMAC(f.kek, vault, version, hash)
	}
}

// TestAVaultFromInitToSecret goes the whole way: found, store, read back,
// unlock, add an item, read it back.
func TestAVaultFromInitToSecret(t *testing.T) {
	alloc := guarded(t)
	f := newFounder(t, alloc)
	m := found(t, f)
	vault := m.Vault()
	deks, err := keyring.NewDeks(m).Encode(f.halves, f.mac(vault))
	if err != nil {
		t.Fatal(err)
	}

	// Another process starts from the stored bytes.
	m, err = keyring.ParseMembers(m.Encode(), vault)
	if err != nil {
		t.Fatal(err)
	}
	block, ok := m.Unlock(f.id)
	if !ok {
		t.Fatal("no unlock block")
	}
	who, _ := m.Identity(f.id)
	unlock, seeds, kek := alloc(32), alloc(64), alloc(32)
	if err := envelope.UnlockKey(unlock, f.share, f.argon, vault, f.id, block.KDF); err != nil {
		t.Fatal(err)
	}
	halves, err := envelope.OpenHalves(seeds, unlock, &block.Halves, vault, f.id, who.Public)
	if err != nil {
		t.Fatal(err)
	}
	seal, ok := m.Seal(1, f.id)
	if !ok {
		t.Fatal("no seal")
	}
	if err := halves.OpenKEK(kek, seal, vault); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kek, f.kek) {
		t.Fatal("opened another KEK")
	}
	d, err := keyring.ParseDeks(deks, vault)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(m, f.mac(vault)); err != nil {
		t.Fatal(err)
	}

	// Add an item.
	dek := alloc(32)
	if err := envelope.NewKey(dek); err != nil {
		t.Fatal(err)
	}
	b := envelope.Binding{Vault: vault, Item: id.NewItem(), Revision: id.NewRevision()}
	meta, err := (&vaultfile.Meta{Name: "work", Public: []byte("public")}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	rev := vaultfile.Revision{Item: b.Item, Revision: b.Revision}
	if rev.Meta, err = envelope.SealMeta(dek, b, meta); err != nil {
		t.Fatal(err)
	}
	if rev.Secret, err = envelope.SealSecret(dek, b, []byte("the private key")); err != nil {
		t.Fatal(err)
	}
	added := keyring.DEK{Item: b.Item, Revision: b.Revision, Line: rev.Sum()}
	if err := envelope.WrapDEK(&added, kek, dek, vault, 1); err != nil {
		t.Fatal(err)
	}
	d, _, err = d.Apply(keyring.Update{Add: []keyring.DEK{added}}, m, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	if deks, err = d.Encode(f.halves, f.mac(vault)); err != nil {
		t.Fatal(err)
	}
	file, err := vaultfile.New(vault).Add(rev).Encode()
	if err != nil {
		t.Fatal(err)
	}

	// Read it back.
	if d, err = keyring.ParseDeks(deks, vault); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(m, f.mac(vault)); err != nil {
		t.Fatal(err)
	}
	parsed, err := vaultfile.Parse(file, vault)
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.See(d, nil).States; len(got) != 1 || got[0] != vaultfile.Ready {
		t.Fatalf("states are %v, want one ready", got)
	}
	line := parsed.Lines()[0].Decode()
	entry := d.Lookup(line.Revision)
	clear(dek)
	if err := envelope.UnwrapDEK(dek, entry, kek, vault, 1); err != nil {
		t.Fatal(err)
	}
	secret := alloc(envelope.OpenSize(line.Secret))
	n, err := envelope.OpenSecret(secret, dek, b, line.Secret)
	if err != nil || string(secret[:n]) != "the private key" {
		t.Fatalf("secret is %q, %v", secret[:n], err)
	}
	public := make([]byte, envelope.OpenSize(line.Meta))
	if n, err = envelope.OpenMeta(public, dek, b, line.Meta); err != nil {
		t.Fatal(err)
	}
	got, err := vaultfile.ParseMeta(public[:n])
	if err != nil || got.Name != "work" {
		t.Fatalf("meta is %+v, %v", got, err)
	}
}
