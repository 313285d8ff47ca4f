package ring

import (
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/keyring"
)

// Rekey returns members in which this identity has the key pairs of next and
// another unlock block, every live KEK is sealed to it again, and there is a new
// KEK that the old key pairs never saw. Rewrap and Retire follow, on a ring of
// next: this one can load none of it.
//
// An old copy of the keyring with the old passphrase opens nothing that is
// written under the new KEK.
func (r *Ring) Rekey(next *envelope.Halves, block keyring.UnlockBlock) ([]byte, error) {
	if r.members == nil {
		return nil, ErrEmpty
	}
	public, err := next.Public()
	if err != nil {
		return nil, err
	}
	members, err := r.members.Append(r.halves, keyring.Rekey{Public: public, Block: block})
	if err != nil {
		return nil, fmt.Errorf("change keys of identity %v: %w", r.identity, err)
	}
	me, ok := members.Identity(r.identity)
	if !ok {
		return nil, ErrNotAMember
	}
	var changes []keyring.Change
	for _, version := range members.KEKs() {
		kek := r.keks[version]
		if kek == nil {
			continue // it wasn't sealed to this identity before either
		}
		seal, err := envelope.SealKEK(kek.Bytes(), me, r.vault, version)
		if err != nil {
			return nil, err
		}
		changes = append(changes, keyring.SealKEK{Seals: []keyring.Seal{seal}})
	}
	seals, err := r.sealNewKEK(members)
	if err != nil {
		return nil, err
	}
	members, err = members.Append(next, append(changes, keyring.MakeKEK{Seals: seals})...)
	if err != nil {
		return nil, fmt.Errorf("make KEK: %w", err)
	}
	return members.Encode(), nil
}
