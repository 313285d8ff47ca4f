package envelope

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

const seedSize = HalvesSize / 2

// UnlockKey derives the key that seals an identity's private halves from both
// factors into dst: HKDF-SHA256 of share ‖ argon2, with vault ‖ identity as
// salt and the KDF's parameters in the info. dst, share and argon2 have KeySize
// bytes each; argon2 is the output of Argon2id with the parameters of k, which
// must be within their limits.
func UnlockKey(dst, share, argon2 []byte, vault id.Vault, identity id.Identity, k keyring.KDF) (err error) {
	if len(dst) != KeySize || len(share) != KeySize || len(argon2) != KeySize {
		return fmt.Errorf("derive unlock key: %w", ErrSize)
	}
	if err := k.Check(); err != nil {
		return fmt.Errorf("derive unlock key: %w", err)
	}
	info := string(unlockContext(vault, identity, k))
	salt := append(append(make([]byte, 0, 48), vault[:]...), identity[:]...)
	guard.Do(func() {
		ikm := make([]byte, 2*KeySize)
		defer guard.Wipe(ikm)
		copy(ikm, share)
		copy(ikm[KeySize:], argon2)
		var key []byte
		if key, err = hkdf.Key(sha256.New, ikm, salt, info, KeySize); err != nil {
			return
		}
		copy(dst, key)
		guard.Wipe(key)
	})
	return err
}

// Halves are an identity's two private keys: the HPKE key that opens KEKs and
// the Ed25519 key that signs records. It prints as [redacted].
type Halves struct {
	guard.Redacted
	identity id.Identity
	seeds    []byte
}

// NewHalves returns the Halves of identity over seeds, HalvesSize bytes in
// guarded memory. The caller owns seeds; Halves is usable until they are wiped.
func NewHalves(identity id.Identity, seeds []byte) (*Halves, error) {
	if len(seeds) != HalvesSize {
		return nil, fmt.Errorf("private halves: %w", ErrSize)
	}
	return &Halves{identity: identity, seeds: seeds}, nil
}

// GenerateHalves fills seeds with new private keys for identity.
func GenerateHalves(identity id.Identity, seeds []byte) (*Halves, error) {
	h, err := NewHalves(identity, seeds)
	if err != nil {
		return nil, err
	}
	rand.Read(seeds)
	return h, nil
}

// Identity returns the id of the identity that the halves belong to.
func (h *Halves) Identity() id.Identity { return h.identity }

// Public derives the public keys.
func (h *Halves) Public() (pub keyring.Public, err error) {
	guard.Do(func() {
		var key hpke.PrivateKey
		if key, err = h.hpkeKey(); err != nil {
			return
		}
		copy(pub.HPKE[:], key.PublicKey().Bytes())
		signing := h.signingKey()
		copy(pub.Ed25519[:], signing[ed25519.SeedSize:])
		guard.Wipe(signing)
	})
	return pub, err
}

// Sign returns the Ed25519 signature of message; it implements keyring.Signer.
func (h *Halves) Sign(message []byte) (sig []byte, err error) {
	guard.Do(func() {
		signing := h.signingKey()
		sig = ed25519.Sign(signing, message)
		guard.Wipe(signing)
	})
	return sig, nil
}

// signingKey expands the seed on the heap: the standard library keeps a weak
// pointer to the key it signs with, which kills the process for a key in
// mapped memory. It runs inside guard.Do, and its caller wipes the result.
func (h *Halves) signingKey() ed25519.PrivateKey {
	seed := append(make([]byte, 0, seedSize), h.seeds[seedSize:]...)
	defer guard.Wipe(seed)
	return ed25519.NewKeyFromSeed(seed)
}

// hpkeKey must run inside guard.Do. The key keeps a copy of the seed, which is
// erased when the key is garbage-collected.
func (h *Halves) hpkeKey() (hpke.PrivateKey, error) {
	seed := append(make([]byte, 0, seedSize), h.seeds[:seedSize]...)
	return hpke.MLKEM768X25519().NewPrivateKey(seed)
}

// SealHalves seals the private halves under the unlock key.
func SealHalves(unlockKey []byte, h *Halves, vault id.Vault) (out [keyring.SealedHalvesSize]byte, err error) {
	pub, err := h.Public()
	if err != nil {
		return out, fmt.Errorf("seal private halves: %w", err)
	}
	sealed, err := Seal(unlockKey, halvesContext(vault, h.identity, &pub), h.seeds)
	if err != nil {
		return out, fmt.Errorf("seal private halves: %w", err)
	}
	copy(out[:], sealed)
	return out, nil
}

// OpenHalves opens private halves into seeds (HalvesSize bytes of guarded
// memory) and checks that they belong to pub, the identity's public keys in the
// members chain. ErrWrongKey means a wrong passphrase or share, or halves that
// were sealed for another place.
func OpenHalves(seeds, unlockKey []byte, sealed *[keyring.SealedHalvesSize]byte, vault id.Vault, identity id.Identity, pub keyring.Public) (*Halves, error) {
	h, err := NewHalves(identity, seeds)
	if err != nil {
		return nil, err
	}
	if err := Open(seeds, unlockKey, halvesContext(vault, identity, &pub), sealed[:]); err != nil {
		return nil, fmt.Errorf("open private halves of %v: %w", identity, err)
	}
	if err := h.Check(pub); err != nil {
		guard.Wipe(seeds)
		return nil, fmt.Errorf("open private halves of %v: %w", identity, err)
	}
	return h, nil
}

// Check returns ErrHalves unless the halves belong to pub.
func (h *Halves) Check(pub keyring.Public) error {
	derived, err := h.Public()
	if err != nil {
		return err
	}
	if derived != pub {
		return ErrHalves
	}
	return nil
}
