package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// vault is an unlocked vault: an identity, and what it can open. Its state is
// replaced by load only, which verifies the whole keyring first.
type vault struct {
	server   *server
	id       id.Vault
	identity id.Identity
	seeds    *guard.Buffer
	halves   *envelope.Halves

	mu      sync.Mutex // one load, seal or deks at a time; signing doesn't take it
	keks    map[uint64]*guard.Buffer
	members *keyring.Members
	deks    *keyring.Deks
	items   map[id.Revision]*item
}

// item is a revision that can be opened.
type item struct {
	number uint64
	line   vaultfile.Revision
	dek    keyring.DEK
	meta   []byte // until the front has it
	// problem says why the metadata doesn't open.
	problem string
}

// newVault takes over seeds, also when it fails.
func newVault(s *server, identity id.Identity, seeds *guard.Buffer) (*vault, error) {
	halves, err := envelope.NewHalves(identity, seeds.Bytes())
	if err != nil {
		seeds.Free()
		return nil, err
	}
	return &vault{
		server: s, id: s.id(), identity: identity, seeds: seeds, halves: halves,
		keks: map[uint64]*guard.Buffer{}, items: map[id.Revision]*item{},
	}, nil
}

// close wipes what opens the vault. Its keys are the table's to wipe.
func (v *vault) close() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for version, kek := range v.keks {
		kek.Free()
		delete(v.keks, version)
	}
	for _, it := range v.items {
		v.server.keys.remove(it.number)
	}
	v.seeds.Free()
}

// current returns the vault that was unlocked.
func (s *server) current() (*vault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vault == nil {
		return nil, fmt.Errorf("%w: no identity was handed over", ErrRefused)
	}
	return s.vault, nil
}

// load verifies both keyring objects against what was seen before, opens the
// KEKs sealed to the identity and the metadata of new revisions, and replaces
// the state. On an error the old state stays.
func (s *server) load(r *wire.Reader, out []byte) ([]byte, error) {
	v, err := s.current()
	if err != nil {
		return out, err
	}
	pins := readPins(r)
	members, deks, file := bytes.Clone(r.String()), bytes.Clone(r.String()), bytes.Clone(r.String())
	if r.End() != nil {
		return out, ErrBadRequest
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	defer s.sweeper.Touch()
	if err := v.verify(members, deks, pins); err != nil {
		return out, err
	}
	return v.loadItems(file, out)
}

// verify reads the keyring, checks it and, when it's good, takes it as the current one.
func (v *vault) verify(membersObject, deksObject []byte, pins Pins) error {
	members, err := keyring.ParseMembers(membersObject, v.id)
	if err != nil {
		return keyringError(err)
	}
	if err := members.Extends(pins.Members); err != nil {
		return keyringError(err)
	}
	if v.members != nil {
		if err := members.Extends(v.members.Pin()); err != nil {
			return keyringError(err)
		}
	}
	me, ok := members.Identity(v.identity)
	if !ok {
		return fmt.Errorf("%w: it was removed", ErrNoIdentity)
	}
	if err := v.halves.Check(me.Public); err != nil {
		return fmt.Errorf("%w: its keys were replaced, as a change of passphrase does", ErrNoIdentity)
	}
	if err := v.openKEKs(members); err != nil {
		return err
	}
	deks, err := keyring.ParseDeks(deksObject, v.id)
	if err != nil {
		return keyringError(err)
	}
	if err := deks.Extends(pins.Deks); err != nil {
		return keyringError(err)
	}
	if v.deks != nil {
		if err := deks.Extends(v.deks.Pin()); err != nil {
			return keyringError(err)
		}
	}
	if err := deks.Verify(members, v.mac); err != nil {
		return keyringError(err)
	}
	v.members, v.deks = members, deks
	v.dropRetired(members)
	return nil
}

// keyringError gives an error of keyring's the kind that the front branches on.
func keyringError(err error) error {
	switch keyring.StageOf(err) {
	case keyring.StageRollback, keyring.StageFork:
		return fmt.Errorf("%w: %w", ErrRollback, err)
	}
	if isFull(err) || errors.Is(err, ErrNoIdentity) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// openKEKs opens the seals of KEKs that are new.
func (v *vault) openKEKs(members *keyring.Members) error {
	for _, version := range members.KEKs() {
		if v.keks[version] != nil {
			continue
		}
		seal, ok := members.Seal(version, v.identity)
		if !ok {
			continue // not sealed to this identity (yet): what it wraps waits
		}
		kek, err := v.server.alloc(envelope.KeySize)
		if err != nil {
			return err
		}
		if err := v.halves.OpenKEK(kek.Bytes(), seal, v.id); err != nil {
			kek.Free()
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		v.keks[version] = kek
	}
	return nil
}

func (v *vault) dropRetired(members *keyring.Members) {
	live := map[uint64]bool{}
	for _, version := range members.KEKs() {
		live[version] = true
	}
	for version, kek := range v.keks {
		if !live[version] {
			kek.Free()
			delete(v.keks, version)
		}
	}
}

func (v *vault) kek(version uint64) ([]byte, error) {
	kek := v.keks[version]
	if kek == nil {
		return nil, fmt.Errorf("%w: KEK %d is not sealed to this identity", ErrNoIdentity, version)
	}
	return kek.Bytes(), nil
}

func (v *vault) mac(version uint64, stored []byte) (mac [keyring.MACSize]byte, err error) {
	kek, err := v.kek(version)
	if err != nil {
		return mac, err
	}
	return envelope.DeksMAC(kek, v.id, version, stored)
}

// withDEK runs f on a DEK in guarded memory that is wiped afterwards.
func (v *vault) withDEK(e keyring.DEK, f func(dek []byte) error) error {
	kek, err := v.kek(e.KEK)
	if err != nil {
		return err
	}
	dek, err := v.server.alloc(envelope.KeySize)
	if err != nil {
		return err
	}
	defer dek.Free()
	if err := envelope.UnwrapDEK(dek.Bytes(), kek, v.id, e); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f(dek.Bytes())
}

// withSecret runs f on an item's private key, in SSH_AGENTC_ADD_IDENTITY's
// encoding, in guarded memory that is wiped afterwards.
func (v *vault) withSecret(it *item, f func(secret []byte) error) error {
	return v.withDEK(it.dek, func(dek []byte) error {
		secret, err := v.server.alloc(max(1, envelope.OpenSize(it.line.Secret)))
		if err != nil {
			return err
		}
		defer secret.Free()
		n, err := envelope.OpenSecret(secret.Bytes(), dek, v.binding(it.line), it.line.Secret)
		if err != nil {
			return fmt.Errorf("%w: open private key of item %v: %w", ErrDamaged, it.line.Item, err)
		}
		return f(secret.Bytes()[:n])
	})
}

func (v *vault) binding(l vaultfile.Revision) envelope.Binding {
	return envelope.Binding{Vault: v.id, Item: l.Item, Revision: l.Revision, Parents: l.Parents, Epoch: l.Epoch}
}

// openKey is an item's first use: from here on its private half is in guarded memory.
func (v *vault) openKey(it *item) (key *signer.Key, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err = v.withSecret(it, func(secret []byte) error {
		var rest []byte
		key, rest, err = v.server.parseKey(secret)
		if err == nil && len(rest) != 0 {
			key.Free()
			return fmt.Errorf("%w: bytes after the private key of item %v", ErrDamaged, it.line.Item)
		}
		return err
	})
	return key, err
}
