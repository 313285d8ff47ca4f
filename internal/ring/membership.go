package ring

import (
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Admit returns members with a new identity, its unlock block, and the live KEKs
// sealed to it.
func (r *Ring) Admit(identity keyring.Identity, block keyring.UnlockBlock) ([]byte, error) {
	if r.members == nil {
		return nil, ErrEmpty
	}
	seals, err := r.sealLive(r.members, identity)
	if err != nil {
		return nil, err
	}
	members, err := r.members.Append(r.halves, keyring.AddIdentity{
		ID: identity.ID, Role: identity.Role, Public: identity.Public, Block: block, Seals: seals,
	})
	if err != nil {
		return nil, fmt.Errorf("admit identity %v: %w", identity.ID, err)
	}
	return members.Encode(), nil
}

// sealLive seals the live KEKs that this identity knows to the public key of to.
func (r *Ring) sealLive(members *keyring.Members, to keyring.Identity) (seals []keyring.Seal, err error) {
	for _, version := range members.KEKs() {
		if r.keks[version] == nil {
			continue
		}
		seal, err := envelope.SealKEK(r.keks[version].Bytes(), to, r.vault, version)
		if err != nil {
			return nil, err
		}
		seals = append(seals, seal)
	}
	return seals, nil
}

// RemoveIdentities returns members without the given identities and with a new KEK,
// which is not sealed to them. Rewrap and Retire follow.
func (r *Ring) RemoveIdentities(identities ...id.Identity) ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	var changes []keyring.Change
	for _, identity := range identities {
		changes = append(changes, keyring.RemoveIdentity{ID: identity, Deks: r.deks.Hash()})
	}
	return r.NewKEK(changes...)
}

// SetUnlock returns members with a new unlock block for this identity, wrapped
// by another master key.
func (r *Ring) SetUnlock(block keyring.UnlockBlock) ([]byte, error) {
	if r.members == nil {
		return nil, ErrEmpty
	}
	members, err := r.members.Append(r.halves, keyring.ChangeMaster{Block: block})
	if err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	return members.Encode(), nil
}
