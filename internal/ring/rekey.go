package ring

import (
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/keyring"
)

// Rekey returns members in which this identity has the key pairs of next and a
// new unlock block, with the live KEKs sealed to its new keys. If it is an owner,
// members also has a new KEK, which is not sealed to the old keys; otherwise the
// next owner to refresh makes one. Rewrap and Retire follow, on a ring of next: r
// can't load the result.
//
// An old copy of the keyring with the old passphrase opens nothing that is
// written under the new KEK.
func (r *Ring) Rekey(next *envelope.Halves, block keyring.UnlockBlock) ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	me, ok := r.members.Identity(r.identity)
	if !ok {
		return nil, ErrNotAMember
	}
	var err error
	if me.Public, err = next.Public(); err != nil {
		return nil, err
	}
	seals, err := r.sealLive(r.members, me)
	if err != nil {
		return nil, err
	}
	members, err := r.members.Append(r.halves, keyring.Rekey{Public: me.Public, Block: block, Seals: seals, Deks: r.deks.Hash()})
	if err != nil {
		return nil, fmt.Errorf("change keys of identity %v: %w", r.identity, err)
	}
	if me.Role != keyring.Owner {
		return members.Encode(), nil
	}
	kek, err := r.sealNewKEK(members)
	if err != nil {
		return nil, err
	}
	if members, err = members.Append(next, keyring.MakeKEK{Seals: kek}); err != nil {
		return nil, fmt.Errorf("make KEK: %w", err)
	}
	return members.Encode(), nil
}
