// Package ring is a keyring as one identity opens it: the private halves, the
// KEKs sealed to them, and the verified members and deks they belong to. A
// keeper has one for as long as its vault is unlocked; an opener makes one for
// a job that asked for the passphrase.
//
//	identity's private halves ─▶ KEKs ─▶ DEKs ─▶ items      items.go
//	                        └─▶ signed records              membership.go
//
// A Ring trusts no one for the keyring: it verifies the chain of members from
// the vault's id, matches every KEK seal to a signed record, checks the MAC of
// deks, and refuses what is older than, or a fork of, what it or the device has
// seen. All secrets lie in guarded memory and never leave it through this package.
package ring

import (
	"errors"
	"fmt"
	"slices"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

var (
	// ErrNotAMember: the identity was removed, or its keys were replaced.
	ErrNotAMember = errors.New("identity is not a member of the vault")
	// ErrNoKEK: a KEK is not sealed to this identity.
	ErrNoKEK = errors.New("KEK is not sealed to this identity")
	// ErrEmpty: no keyring was loaded yet.
	ErrEmpty = errors.New("no keyring was loaded")
)

// Pins are the last states of both keyring objects that a device accepted.
type Pins struct {
	Members keyring.MembersPin
	Deks    keyring.DeksPin
}

// Alloc gives n bytes of guarded memory; its owner frees them.
type Alloc func(n int) (*guard.Buffer, error)

// Ring is not safe for concurrent use.
type Ring struct {
	vault    id.Vault
	identity id.Identity
	alloc    Alloc
	seeds    *guard.Buffer
	halves   *envelope.Halves

	keks    map[uint64]*guard.Buffer
	members *keyring.Members
	deks    *keyring.Deks
	pending *keyring.Pending
}

// New makes a ring of an identity's private halves, envelope.HalvesSize bytes.
// It takes them over, also when it fails.
func New(vault id.Vault, identity id.Identity, seeds *guard.Buffer, alloc Alloc) (*Ring, error) {
	halves, err := envelope.NewHalves(identity, seeds.Bytes())
	if err != nil {
		seeds.Free()
		return nil, err
	}
	return &Ring{vault: vault, identity: identity, alloc: alloc, seeds: seeds, halves: halves, keks: map[uint64]*guard.Buffer{}}, nil
}

// Close wipes the private halves and the KEKs.
func (r *Ring) Close() {
	for version, kek := range r.keks {
		kek.Free()
		delete(r.keks, version)
	}
	r.seeds.Free()
}

// Vault returns the vault's id.
func (r *Ring) Vault() id.Vault { return r.vault }

// Identity returns whose ring it is.
func (r *Ring) Identity() id.Identity { return r.identity }

// Members returns the members loaded last, or nil.
func (r *Ring) Members() *keyring.Members { return r.members }

// Deks returns the manifest loaded last, or nil.
func (r *Ring) Deks() *keyring.Deks { return r.deks }

// Pins returns the state of the keyring loaded last.
func (r *Ring) Pins() Pins { return Pins{Members: r.members.Pin(), Deks: r.deks.Pin()} }

// Waiting are changes of this device that the backend doesn't have yet, and the
// seals of the KEKs that wrap them, which may have been retired meanwhile.
type Waiting struct {
	keyring.Update
	Seals []keyring.Seal
}

// Manifest returns the manifest loaded last, with the changes that wait.
func (r *Ring) Manifest() *keyring.Pending { return r.pending }

// Load verifies both objects and takes them as the current ones. On an error
// the old ones stay. Errors are those of package keyring (see keyring.StageOf),
// ErrNotAMember, or about guarded memory.
func (r *Ring) Load(membersObject, deksObject []byte, pins Pins, w Waiting) error {
	members, err := r.verifyMembers(membersObject, pins)
	if err != nil {
		return err
	}
	deks, err := keyring.ParseDeks(deksObject, r.vault)
	if err != nil {
		return err
	}
	if err := deks.Extends(pins.Deks); err != nil {
		return err
	}
	if r.deks != nil {
		if err := deks.Extends(r.deks.Pin()); err != nil {
			return err
		}
	}
	fresh, err := r.openKEKs(members)
	if err == nil {
		err = deks.Verify(members, r.MAC)
	}
	if err == nil {
		fresh, err = r.openOld(members, w, fresh)
	}
	if err != nil {
		r.drop(fresh) // another keyring may have other KEKs of these versions
		return err
	}
	r.members, r.deks, r.pending = members, deks, keyring.WithPending(deks, w.Update)
	r.dropRetired(w)
	return nil
}

// openOld opens the retired KEKs that changes which wait are wrapped by, and
// appends their versions to fresh. Anyone can seal to an identity, so a seal
// counts only when a signed record names it; one that doesn't count, or doesn't
// open, leaves what it wraps unusable and nothing else.
func (r *Ring) openOld(members *keyring.Members, w Waiting, fresh []uint64) ([]uint64, error) {
	for _, seal := range w.Seals {
		if seal.Identity != r.identity || r.keks[seal.KEK] != nil || !sealed(members, seal) {
			continue
		}
		err := r.openKEK(seal)
		if errors.Is(err, guard.ErrFull) {
			return fresh, err
		}
		if err == nil {
			fresh = append(fresh, seal.KEK)
		}
	}
	return fresh, nil
}

// sealed tells whether a record of the chain names a seal.
func sealed(members *keyring.Members, seal keyring.Seal) bool {
	want := keyring.SealRef{Identity: seal.Identity, SHA256: seal.Hash()}
	return slices.ContainsFunc(members.Records(), func(rec keyring.Record) bool {
		return rec.KEK == seal.KEK && slices.Contains(rec.Seals, want)
	})
}

// verifyMembers checks the chain, and that this identity is on it with these keys.
func (r *Ring) verifyMembers(object []byte, pins Pins) (*keyring.Members, error) {
	members, err := keyring.ParseMembers(object, r.vault)
	if err != nil {
		return nil, err
	}
	if err := members.Extends(pins.Members); err != nil {
		return nil, err
	}
	if r.members != nil {
		if err := members.Extends(r.members.Pin()); err != nil {
			return nil, err
		}
	}
	me, ok := members.Identity(r.identity)
	if !ok {
		return nil, fmt.Errorf("%w: it was removed", ErrNotAMember)
	}
	if err := r.halves.Check(me.Public); err != nil {
		return nil, fmt.Errorf("%w: its keys were replaced, as a change of passphrase does", ErrNotAMember)
	}
	return members, nil
}

// openKEKs opens the seals of KEKs that are new, and returns their versions.
func (r *Ring) openKEKs(members *keyring.Members) (fresh []uint64, err error) {
	for _, version := range members.KEKs() {
		seal, ok := members.Seal(version, r.identity)
		if !ok || r.keks[version] != nil {
			continue // one that isn't sealed to this identity (yet): what it wraps waits
		}
		if err := r.openKEK(seal); err != nil {
			return fresh, err
		}
		fresh = append(fresh, version)
	}
	return fresh, nil
}

// drop wipes KEKs.
func (r *Ring) drop(versions []uint64) {
	for _, version := range versions {
		r.keks[version].Free()
		delete(r.keks, version)
	}
}

func (r *Ring) openKEK(seal keyring.Seal) error {
	kek, err := r.alloc(envelope.KeySize)
	if err != nil {
		return err
	}
	if err := r.halves.OpenKEK(kek.Bytes(), seal, r.vault); err != nil {
		kek.Free()
		return err
	}
	r.keks[seal.KEK] = kek
	return nil
}

// dropRetired wipes the KEKs that the chain has retired and no change waits for.
func (r *Ring) dropRetired(w Waiting) {
	live := map[uint64]bool{}
	for _, e := range w.Add {
		live[e.KEK] = true
	}
	for _, seal := range w.Seals {
		live[seal.KEK] = true
	}
	for _, version := range r.members.KEKs() {
		live[version] = true
	}
	for version := range r.keks {
		if !live[version] {
			r.drop([]uint64{version})
		}
	}
}

func (r *Ring) kek(version uint64) ([]byte, error) {
	kek := r.keks[version]
	if kek == nil {
		return nil, fmt.Errorf("KEK %d: %w", version, ErrNoKEK)
	}
	return kek.Bytes(), nil
}

// MAC authenticates a deks object; it is a keyring.MACFunc.
func (r *Ring) MAC(version uint64, stored []byte) (mac [keyring.MACSize]byte, err error) {
	kek, err := r.kek(version)
	if err != nil {
		return mac, err
	}
	return envelope.DeksMAC(kek, r.vault, version, stored)
}

// newKey makes a random key in guarded memory; the caller frees it.
func (r *Ring) newKey() (*guard.Buffer, error) {
	key, err := r.alloc(envelope.KeySize)
	if err != nil {
		return nil, err
	}
	if err := envelope.NewKey(key.Bytes()); err != nil {
		key.Free()
		return nil, err
	}
	return key, nil
}
