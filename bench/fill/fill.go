// Package fill puts keys into a vault behind vigilctl's back, for benches: one by
// one, thousands of them would take longer than anything that is measured.
package fill

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/passphrase"
	"vigil/internal/ring"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// Vault is a vault with one identity as it is stored, and what opens it.
type Vault struct {
	File, Members, Deks []byte
	// Share opens the master key's part of the identity's share: it fills dst.
	Share      func(dst []byte, vault id.Vault, me id.Identity, wrapped []byte) error
	Passphrase string
}

// memory is the guarded memory in bytes that going down a hierarchy takes.
const memory = 64 << 10

// Keys returns the vault with n new Ed25519 keys, named key-00000 and so on, in
// place of those that it had.
func (v Vault) Keys(n int) (Vault, error) {
	slab, err := guard.NewSlab(memory)
	if err != nil {
		return v, err
	}
	defer slab.Close()
	r, err := v.ring(slab)
	if err != nil {
		return v, err
	}
	defer r.Close()
	update, lines, err := seal(r, n)
	if err != nil {
		return v, err
	}
	if v.Deks, _, err = r.Apply(update, uint64(time.Now().Unix())); err != nil {
		return v, err
	}
	v.File, err = vaultfile.New(r.Vault()).Add(lines...).Encode()
	return v, err
}

// KDF returns the cost of the identity's passphrase.
func (v Vault) KDF() (keyring.KDF, error) {
	_, _, block, err := v.identity()
	return block.KDF, err
}

func (v Vault) identity() (vault id.Vault, me keyring.Identity, block keyring.UnlockBlock, err error) {
	if vault, err = vaultfile.ParseHeader(v.File); err != nil {
		return vault, me, block, err
	}
	members, err := keyring.ParseMembers(v.Members, vault)
	if err != nil {
		return vault, me, block, err
	}
	me = members.Identities()[0]
	block, ok := members.Unlock(me.ID)
	if !ok {
		err = errors.New("the identity has no unlock block")
	}
	return vault, me, block, err
}

// ring goes down the hierarchy with both factors.
func (v Vault) ring(slab *guard.Slab) (*ring.Ring, error) {
	vault, me, block, err := v.identity()
	if err != nil {
		return nil, err
	}
	share, stretched, unlockKey := make([]byte, envelope.KeySize), make([]byte, envelope.KeySize), make([]byte, envelope.KeySize)
	if err := v.Share(share, vault, me.ID, block.Share); err != nil {
		return nil, err
	}
	var d passphrase.Deriver
	if err := d.Derive(stretched, []byte(v.Passphrase), block.KDF); err != nil {
		return nil, err
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, vault, me.ID, block.KDF); err != nil {
		return nil, err
	}
	seeds, err := slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return nil, err
	}
	if _, err := envelope.OpenHalves(seeds.Bytes(), unlockKey, &block.Halves, vault, me.ID, me.Public); err != nil {
		return nil, err
	}
	r, err := ring.New(vault, me.ID, seeds, slab.Alloc)
	if err != nil {
		return nil, err
	}
	return r, r.Load(v.Members, v.Deks, keyring.Known{}, keyring.Update{})
}

func seal(r *ring.Ring, n int) (u keyring.Update, lines []vaultfile.Revision, err error) {
	for i := range n {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return u, nil, err
		}
		blob := wire.AppendString(wire.AppendString(nil, []byte("ssh-ed25519")), public)
		secret := wire.AppendString(blob[:len(blob):len(blob)], private)
		meta, err := (&vaultfile.Meta{
			Name: fmt.Sprintf("key-%05d", i), Comment: fmt.Sprintf("alice@host-%05d", i), Created: uint64(time.Now().Unix()), Public: blob,
		}).Encode()
		if err != nil {
			return u, nil, err
		}
		line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
		dek, err := r.Seal(&line, meta, secret, false)
		if err != nil {
			return u, nil, err
		}
		u.Add, lines = append(u.Add, dek), append(lines, line)
	}
	return u, lines, nil
}
