package ring

import (
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/keyring"
)

// A change of membership or a rotation takes several writes. After each of them
// every device can continue, and the next rotation finishes one that a crash
// interrupted:
//
//	1. members: KEK n+1 made, sealed to every identity      NewKEK
//	2. deks:    every DEK wrapped by KEK n+1, MAC under it  Rewrap
//	3. members: older KEKs retired, their seals dropped     Retire
//
// A device that sees 1 without 2 does 2 with its next write, because a removed
// identity knows KEK n. A device that sees 2 has already opened KEK n+1 from 1,
// because it reads members first.

// NewKEK returns members with the next KEK version, sealed to every identity.
func (r *Ring) NewKEK(changes ...keyring.Change) ([]byte, error) {
	if r.members == nil {
		return nil, ErrEmpty
	}
	members := r.members
	if len(changes) > 0 {
		var err error
		if members, err = members.Append(r.halves, changes...); err != nil {
			return nil, fmt.Errorf("change members: %w", err)
		}
	}
	seals, err := r.sealNewKEK(members)
	if err != nil {
		return nil, err
	}
	if members, err = members.Append(r.halves, keyring.MakeKEK{Seals: seals}); err != nil {
		return nil, fmt.Errorf("make KEK: %w", err)
	}
	return members.Encode(), nil
}

// sealNewKEK makes the next KEK and seals it to every identity. It wipes the KEK
// itself: this identity opens it from its seal like the others.
func (r *Ring) sealNewKEK(members *keyring.Members) (seals []keyring.Seal, err error) {
	kek, err := r.newKey()
	if err != nil {
		return nil, err
	}
	defer kek.Free()
	for _, to := range members.Identities() {
		seal, err := envelope.SealKEK(kek.Bytes(), to, r.vault, members.KEK()+1)
		if err != nil {
			return nil, err
		}
		seals = append(seals, seal)
	}
	return seals, nil
}

// Rewrap returns the manifest with every DEK wrapped by the newest KEK, or nil
// if they already are. No item is decrypted.
func (r *Ring) Rewrap() ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	newest := r.members.KEK()
	if r.deks.KEK() == newest {
		return nil, nil
	}
	if err := r.mayWrite(); err != nil {
		return nil, err
	}
	next, err := r.rewrapped()
	if err != nil {
		return nil, err
	}
	return next.Encode(r.halves, r.MAC)
}

func (r *Ring) rewrapped() (*keyring.Deks, error) {
	newest := r.members.KEK()
	return r.deks.Rewrap(r.members, func(e keyring.DEK) ([keyring.WrappedDEKSize]byte, error) {
		err := r.rewrapTo(&e, newest)
		return e.Wrapped, err
	})
}

// Retire returns members without the KEKs that the manifest no longer needs, or
// nil if there are none.
func (r *Ring) Retire() ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	var changes []keyring.Change
	for _, version := range r.members.KEKs() {
		if version < r.deks.KEK() {
			changes = append(changes, keyring.RetireKEK{Version: version})
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	members, err := r.members.Append(r.halves, changes...)
	if err != nil {
		return nil, fmt.Errorf("retire KEKs: %w", err)
	}
	return members.Encode(), nil
}
