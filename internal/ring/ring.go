// Package ring holds a keyring opened by one identity: its private halves, the
// KEKs sealed to them, and the verified members and deks they belong to. A
// keeper has one for as long as its vault is unlocked; an opener makes one for
// a job that asked for the passphrase.
//
//	identity's private halves ─▶ KEKs ─▶ DEKs ─▶ items      items.go
//	                        └─▶ signed records              membership.go
//
// A Ring doesn't trust the source of the keyring: it verifies the chain of
// members from the vault's id, matches every KEK seal to a signed record, checks
// the MAC of deks, and refuses objects that are older than, or a fork of, those
// that it or the device has seen. All secrets are in guarded memory and never
// leave it through this package.
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
	// ErrNoKEK: a KEK is not sealed to this identity, or its seal doesn't open.
	ErrNoKEK = errors.New("KEK is not sealed to this identity")
	// ErrReader: the identity may use the vault's keys but not change the vault.
	ErrReader = errors.New("identity may read the vault and not write to it")
	// ErrEmpty: no keyring has been loaded.
	ErrEmpty = errors.New("no keyring was loaded")
)

// Alloc allocates n bytes of guarded memory; the caller frees the buffer.
type Alloc func(n int) (*guard.Buffer, error)

// Ring is a keyring opened by one identity. It is not safe for concurrent use.
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

// New returns a ring for an identity's private halves, envelope.HalvesSize bytes.
// It takes ownership of seeds, and frees them if it fails.
func New(vault id.Vault, identity id.Identity, seeds *guard.Buffer, alloc Alloc) (*Ring, error) {
	halves, err := envelope.NewHalves(identity, seeds.Bytes())
	if err != nil {
		seeds.Free()
		return nil, err
	}
	return &Ring{vault: vault, identity: identity, alloc: alloc, seeds: seeds, halves: halves, keks: map[uint64]*guard.Buffer{}}, nil
}

// Succeed makes r, a ring with the same identity's next keys, check what it loads
// against what old has loaded.
func (r *Ring) Succeed(old *Ring) { r.members, r.deks = old.members, old.deks }

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

// Identity returns the id of the identity that opened the ring.
func (r *Ring) Identity() id.Identity { return r.identity }

// Members returns the members loaded last, or nil.
func (r *Ring) Members() *keyring.Members { return r.members }

// Deks returns the manifest loaded last, or nil.
func (r *Ring) Deks() *keyring.Deks { return r.deks }

// Pins returns the pins of the keyring loaded last.
func (r *Ring) Pins() keyring.Pins { return keyring.Pins{Members: r.members.Pin(), Deks: r.deks.Pin()} }

// Manifest returns the manifest loaded last with the pending changes on top.
func (r *Ring) Manifest() *keyring.Pending { return r.pending }

// Load verifies both objects against known and what was loaded before, and makes
// them the current ones. waiting holds this device's changes that the backend
// doesn't have yet. On an error the old objects stay. Errors are those of package
// keyring (see keyring.StageOf), ErrNotAMember, ErrNoKEK for a deks under a KEK
// that this identity can't open, or about guarded memory.
func (r *Ring) Load(membersObject, deksObject []byte, known keyring.Known, waiting keyring.Update) error {
	members, err := r.verifyMembers(membersObject, known.Pins)
	if err != nil {
		return err
	}
	deks, err := keyring.ParseDeks(deksObject, r.vault)
	if err != nil {
		return err
	}
	if err := deks.Extends(known.Deks); keyring.StageOf(err) == keyring.StageRollback {
		return err
	}
	fresh, err := r.openKEKs(members)
	if err == nil {
		err = deks.Verify(members, r.MAC)
	}
	if err == nil { // an object without a valid signature is not a fork
		err = errors.Join(deks.Extends(known.Deks), r.follows(deks, known))
	}
	if err != nil {
		r.drop(fresh) // another keyring may have other KEKs of these versions
		return err
	}
	r.members, r.deks, r.pending = members, deks, keyring.WithPending(deks, waiting)
	r.dropRetired()
	return nil
}

// follows checks that deks can descend from the manifest accepted last.
func (r *Ring) follows(deks *keyring.Deks, known keyring.Known) error {
	last := r.deks
	// Without a pin, the device was told to forget what it has seen.
	if last == nil && known.Last != nil && known.Deks != (keyring.DeksPin{}) && deks.Pin() != known.Deks {
		kept, err := keyring.ParseDeks(known.Last, r.vault)
		if err != nil {
			return fmt.Errorf("read the manifest that this device has kept: %w", err)
		}
		last = kept
	}
	if last == nil || last.Pin() == deks.Pin() {
		return nil
	}
	if err := deks.Extends(last.Pin()); err != nil {
		return err
	}
	return deks.Follows(last)
}

// verifyMembers checks the chain, and that it lists this identity with these keys.
func (r *Ring) verifyMembers(object []byte, pins keyring.Pins) (*keyring.Members, error) {
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

// openKEKs opens the seals of new KEKs and returns their versions. It skips a KEK
// that isn't sealed to this identity or whose seal doesn't open: manifests under
// other KEKs can still be read.
func (r *Ring) openKEKs(members *keyring.Members) (fresh []uint64, err error) {
	for _, version := range members.KEKs() {
		seal, ok := members.Seal(version, r.identity)
		if !ok || r.keks[version] != nil {
			continue
		}
		switch err := r.openKEK(seal); {
		case errors.Is(err, envelope.ErrWrongKey):
		case err != nil:
			return fresh, err
		default:
			fresh = append(fresh, version)
		}
	}
	return fresh, nil
}

// drop wipes and forgets KEKs.
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

// dropRetired wipes the KEKs that the chain has retired.
func (r *Ring) dropRetired() {
	live := r.members.KEKs()
	for version := range r.keks {
		if !slices.Contains(live, version) {
			r.drop([]uint64{version})
		}
	}
}

// Opens reports whether this identity has opened a KEK.
func (r *Ring) Opens(version uint64) bool { return r.keks[version] != nil }

func (r *Ring) kek(version uint64) ([]byte, error) {
	kek := r.keks[version]
	if kek == nil {
		return nil, fmt.Errorf("KEK %d: %w", version, ErrNoKEK)
	}
	return kek.Bytes(), nil
}

// MAC returns the MAC of a deks object; it is a keyring.MACFunc.
func (r *Ring) MAC(version uint64, hash id.Hash) (mac [keyring.MACSize]byte, err error) {
	kek, err := r.kek(version)
	if err != nil {
		return mac, err
	}
	return envelope.DeksMAC(kek, r.vault, version, hash)
}

// newKey returns a random key in guarded memory; the caller frees it.
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
