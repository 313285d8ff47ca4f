package keyring

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"vigil/internal/id"
)

// actor is an identity whose keys derive from a number, so that chains in these
// tests are the same on every run.
type actor struct {
	id  id.Identity
	key ed25519.PrivateKey
	pub Public
}

func newActor(n byte) *actor { return rekeyed(id.Identity{15: n}, n) }

// rekeyed is an identity with the keys of number n.
func rekeyed(who id.Identity, n byte) *actor {
	a := &actor{id: who, key: ed25519.NewKeyFromSeed(make32(n))}
	key, err := hpke.MLKEM768X25519().NewPrivateKey(make32(n))
	if err != nil {
		panic(err)
	}
	copy(a.pub.HPKE[:], key.PublicKey().Bytes())
	copy(a.pub.Ed25519[:], a.key.Public().(ed25519.PublicKey))
	return a
}

func make32(n byte) []byte {
	b := sha256.Sum256([]byte{n})
	return b[:]
}

func (a *actor) Identity() id.Identity               { return a.id }
func (a *actor) Sign(message []byte) ([]byte, error) { return ed25519.Sign(a.key, message), nil }

func (a *actor) block() UnlockBlock {
	return UnlockBlock{Identity: a.id, KDF: DefaultKDF([16]byte{a.id[15]}), Master: "local", Share: []byte{1, 2, 3}}
}

// seal stands in for an HPKE seal, which keyring never opens.
func (a *actor) seal(kek uint64) Seal {
	s := Seal{Identity: a.id, KEK: kek}
	s.Sealed[0], s.Sealed[1] = a.pub.HPKE[0], byte(kek)
	return s
}

func seals(kek uint64, to ...*actor) []Seal {
	var out []Seal
	for _, a := range to {
		out = append(out, a.seal(kek))
	}
	return out
}

// vaultOf founds a vault of one owner.
func vaultOf(t testing.TB, owner *actor) *Members {
	t.Helper()
	f, err := Found(owner, owner.pub, [16]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Complete(owner.seal(1), owner.block())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func grow(t testing.TB, m *Members, by *actor, changes ...Change) *Members {
	t.Helper()
	next, err := m.Append(by, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// admission adds an identity with its unlock block and seals.
func admission(m *Members, who *actor, role Role) AddIdentity {
	return AddIdentity{ID: who.id, Role: role, Public: who.pub, Block: who.block(), Seals: live(m, who)}
}

// live are the live KEKs sealed to an identity.
func live(m *Members, who *actor) (out []Seal) {
	for _, kek := range m.KEKs() {
		out = append(out, who.seal(kek))
	}
	return out
}

func admit(t testing.TB, m *Members, by, who *actor, role Role) *Members {
	t.Helper()
	return grow(t, m, by, admission(m, who, role))
}

// rekey is an identity's change to the keys of another actor.
func rekey(m *Members, to *actor) Rekey {
	return Rekey{Public: to.pub, Block: to.block(), Seals: live(m, to)}
}

// testMAC stands in for envelope.DeksMAC: the key is the KEK's version.
func testMAC(kek uint64, hash id.Hash) ([MACSize]byte, error) {
	h := hmac.New(sha256.New, binary.BigEndian.AppendUint64(nil, kek))
	h.Write(hash[:])
	return [MACSize]byte(h.Sum(nil)), nil
}

func dek(item, revision byte, parents ...byte) DEK {
	e := DEK{Item: id.Item{15: item}, Revision: id.Revision{15: revision}, Line: id.Hash{31: revision}}
	for _, p := range parents {
		e.Parents = append(e.Parents, id.Revision{15: p})
	}
	e.Parents = SortParents(e.Parents)
	e.Wrapped[0] = revision
	return e
}

// writer writes manifests in these tests: the first owner.
func writer() *actor { return newActor(1) }

// stored encodes, parses and verifies.
func stored(t testing.TB, d *Deks, m *Members) *Deks {
	t.Helper()
	b, err := d.Encode(writer(), testMAC)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ParseDeks(b, m.Vault())
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Verify(m, testMAC); err != nil {
		t.Fatal(err)
	}
	return out
}

func apply(t testing.TB, d *Deks, m *Members, u Update, now uint64) *Deks {
	t.Helper()
	next, deleted, err := d.Apply(u, m, now)
	if err != nil || len(deleted) > 0 {
		t.Fatalf("apply: %v, deleted elsewhere: %d", err, len(deleted))
	}
	return stored(t, next, m)
}

func wantStage(t *testing.T, err error, want Stage) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want refusal at %s", want)
	}
	if got := StageOf(err); got != want {
		t.Fatalf("refused at %q (%v), want %q", got, err, want)
	}
}
