package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/passphrase"
	"vigil/internal/vaultfile"
)

// objects are the three stored things.
type objects struct{ vault, members, deks []byte }

// factors are what a person and a key management service bring, and what the
// device remembers.
type factors struct {
	Vault      id.Vault           `json:"vault"` // zero: whatever the vault file says
	Identity   id.Identity        `json:"identity"`
	Passphrase string             `json:"passphrase"`
	Share      []byte             `json:"share"`
	MembersPin keyring.MembersPin `json:"membersPin"`
	DeksPin    keyring.DeksPin    `json:"deksPin"`
	LastDeks   []byte             `json:"-"` // the object of the pin
}

// opened is what a reader gets out of a vault.
type opened struct {
	argon2, unlock, seeds []byte
	keks                  map[uint64][]byte
	items                 []openedItem
}

type openedItem struct {
	Item     id.Item     `json:"item"`
	Revision id.Revision `json:"revision"`
	DEK      []byte      `json:"dek"`
	Meta     string      `json:"meta"`
	Secret   []byte      `json:"secret"`
}

// stageError names the stage of a whole read: the object, and the check.
type stageError struct {
	stage string
	err   error
}

func (e *stageError) Error() string { return e.stage + ": " + e.err.Error() }

func at(object string, err error) error {
	if err == nil {
		return nil
	}
	stage := string(keyring.StageOf(err)) + string(vaultfile.StageOf(err))
	switch {
	case errors.Is(err, envelope.ErrWrongKey):
		stage = "wrong-key"
	case errors.Is(err, envelope.ErrDamaged):
		stage = "damaged"
	case errors.Is(err, envelope.ErrPadding):
		stage = "padding"
	case errors.Is(err, envelope.ErrSize):
		stage = "size"
	case errors.Is(err, envelope.ErrHalves):
		stage = "mismatch"
	case stage == "":
		stage = "other"
	}
	return &stageError{object + " " + stage, err}
}

// read opens a whole vault as docs/vault-format.md, "Reading a vault", says.
func read(o objects, f factors) (*opened, error) {
	file, err := vaultfile.Parse(o.vault, f.Vault)
	if err != nil {
		return nil, at("vault", err)
	}
	if damaged := file.Damaged(); len(damaged) > 0 {
		return nil, at("vault", &damaged[0])
	}
	vault := file.Vault()
	m, err := keyring.ParseMembers(o.members, vault)
	if err != nil {
		return nil, at("members", err)
	}
	if err := m.Extends(f.MembersPin); err != nil {
		return nil, at("members", err)
	}
	d, err := keyring.ParseDeks(o.deks, vault)
	if err != nil {
		return nil, at("deks", err)
	}
	if err := d.Extends(f.DeksPin); keyring.StageOf(err) == keyring.StageRollback {
		return nil, at("deks", err)
	}
	out, err := unlock(m, f)
	if err != nil {
		return nil, err
	}
	if err := d.CheckChain(m); err != nil {
		return nil, at("deks", err)
	}
	if out.keks[d.KEK()] == nil {
		return nil, &stageError{"deks kek", errors.New("not sealed to this identity")}
	}
	mac := func(kek uint64, hash id.Hash) ([32]byte, error) {
		return envelope.DeksMAC(out.keks[kek], vault, kek, hash)
	}
	if err := d.Verify(m, mac); err != nil {
		return nil, at("deks", err)
	}
	if err := errors.Join(d.Extends(f.DeksPin), follows(d, f)); err != nil {
		return nil, at("deks", err)
	}
	states := file.See(d, nil).States
	for i, line := range file.Lines() {
		switch states[i] {
		case vaultfile.Ready:
		case vaultfile.Unusable:
			return nil, &stageError{"vault line", errors.New("not the line that the manifest names")}
		default:
			continue
		}
		item, err := openItem(vault, line.Decode(), d, out.keks)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

// follows checks a manifest against the last one that the device accepted.
func follows(d *keyring.Deks, f factors) error {
	if f.LastDeks == nil {
		return nil
	}
	last, err := keyring.ParseDeks(f.LastDeks, d.Vault())
	if err != nil {
		return err
	}
	return d.Follows(last)
}

func unlock(m *keyring.Members, f factors) (*opened, error) {
	who, ok := m.Identity(f.Identity)
	block, has := m.Unlock(f.Identity)
	if !ok || !has {
		return nil, at("identity", errors.New("not there"))
	}
	argon, err := deriveOnce(f.Passphrase, block.KDF)
	if err != nil {
		return nil, at("kdf", err)
	}
	out := &opened{argon2: argon, unlock: make([]byte, 32), seeds: make([]byte, 64), keks: map[uint64][]byte{}}
	if err := envelope.UnlockKey(out.unlock, f.Share, argon, m.Vault(), f.Identity, block.KDF); err != nil {
		return nil, at("kdf", err)
	}
	halves, err := envelope.OpenHalves(out.seeds, out.unlock, &block.Halves, m.Vault(), f.Identity, who.Public)
	if err != nil {
		return nil, at("halves", err)
	}
	for _, version := range m.KEKs() {
		seal, ok := m.Seal(version, f.Identity)
		if !ok {
			continue
		}
		kek := make([]byte, 32)
		if halves.OpenKEK(kek, seal, m.Vault()) == nil {
			out.keks[version] = kek
		}
	}
	return out, nil
}

func openItem(vault id.Vault, v vaultfile.Revision, d *keyring.Deks, keks map[uint64][]byte) (openedItem, error) {
	entry := d.Lookup(v.Revision)
	out := openedItem{Item: v.Item, Revision: v.Revision, DEK: make([]byte, 32)}
	if err := envelope.UnwrapDEK(out.DEK, entry, keks[d.KEK()], vault, d.KEK()); err != nil {
		return out, at("dek", err)
	}
	b := envelope.Binding{Vault: vault, Item: v.Item, Revision: v.Revision, Parents: v.Parents}
	meta := make([]byte, envelope.OpenSize(v.Meta))
	n, err := envelope.OpenMeta(meta, out.DEK, b, v.Meta)
	if err != nil {
		return out, at("meta", err)
	}
	if _, err := vaultfile.ParseMeta(meta[:n]); err != nil {
		return out, &stageError{"meta syntax", err}
	}
	out.Meta = string(meta[:n])
	out.Secret = make([]byte, envelope.OpenSize(v.Secret))
	n, err = envelope.OpenSecret(out.Secret, out.DEK, b, v.Secret)
	if err != nil {
		return out, at("secret", err)
	}
	out.Secret = out.Secret[:n]
	return out, nil
}

// derived keeps what Argon2id gave, as every derivation takes 0.2 s.
var derived struct {
	sync.Mutex
	passphrase.Deriver
	keys map[string][]byte
}

func deriveOnce(p string, k keyring.KDF) ([]byte, error) {
	derived.Lock()
	defer derived.Unlock()
	name := fmt.Sprintf("%q %+v", p, k)
	if key, ok := derived.keys[name]; ok {
		return bytes.Clone(key), nil
	}
	key := make([]byte, passphrase.KeySize)
	if err := derived.Derive(key, []byte(p), k); err != nil {
		return nil, err
	}
	if derived.keys == nil {
		derived.keys = map[string][]byte{}
	}
	derived.keys[name] = key
	return bytes.Clone(key), nil
}

func wantStage(t *testing.T, err error, want string) {
	t.Helper()
	var s *stageError
	switch {
	case err == nil && want != "":
		t.Fatalf("accepted, want refusal at %q", want)
	case err != nil && want == "":
		t.Fatalf("refused: %v", err)
	case err != nil && (!errors.As(err, &s) || s.stage != want):
		t.Fatalf("refused at %v, want %q", err, want)
	}
}

// countItems reads a vault file with KEKs at hand and returns how many items
// open.
func countItems(w *world, keks map[uint64][]byte, vault []byte) (n int, err error) {
	file, err := vaultfile.Parse(vault, w.m.Vault())
	if err != nil {
		return 0, err
	}
	states := file.See(w.d, nil).States
	for i, line := range file.Lines() {
		if states[i] != vaultfile.Ready {
			continue
		}
		if _, err := openItem(w.m.Vault(), line.Decode(), w.d, keks); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
