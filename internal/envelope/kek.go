package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// hpkeEncSize is the size of MLKEM768-X25519's encapsulated key.
const hpkeEncSize = 1120

// SealKEK seals KEK version to an identity's public key: HPKE in base mode,
// suite keyring.Suite, info binding vault, identity and version, no AAD. It doesn't
// authenticate the sender; the signed record that names the seal does.
func SealKEK(kek []byte, to keyring.Identity, vault id.Vault, version uint64) (s keyring.Seal, err error) {
	s = keyring.Seal{Identity: to.ID, KEK: version}
	if len(kek) != KeySize {
		return s, fmt.Errorf("seal KEK: %w", ErrSize)
	}
	pub, err := hpke.MLKEM768X25519().NewPublicKey(to.Public.HPKE[:])
	if err != nil {
		return s, fmt.Errorf("seal KEK to %v: public key: %w", to.ID, err)
	}
	guard.Do(func() {
		var sealed []byte
		sealed, err = hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), kekContext(vault, to.ID, version), kek)
		if err == nil && len(sealed) != len(s.Sealed) {
			err = ErrSize
		}
		copy(s.Sealed[:], sealed)
	})
	if err != nil {
		return s, fmt.Errorf("seal KEK to %v: %w", to.ID, err)
	}
	return s, nil
}

// OpenKEK opens a seal, which the caller has matched to the members chain, into
// dst (KeySize bytes of guarded memory). Its error is ErrWrongKey or ErrSize: HPKE
// doesn't distinguish a wrong key from a changed ciphertext.
func (h *Halves) OpenKEK(dst []byte, s keyring.Seal, vault id.Vault) (err error) {
	if len(dst) != KeySize {
		return fmt.Errorf("open KEK %d: %w", s.KEK, ErrSize)
	}
	guard.Do(func() {
		var key hpke.PrivateKey
		if key, err = h.hpkeKey(); err != nil {
			return
		}
		var r *hpke.Recipient
		if r, err = hpke.NewRecipient(s.Sealed[:hpkeEncSize], key, hpke.HKDFSHA256(), hpke.AES256GCM(), kekContext(vault, h.identity, s.KEK)); err != nil {
			err = ErrWrongKey
			return
		}
		kek, failed := r.Open(nil, s.Sealed[hpkeEncSize:])
		if failed != nil || len(kek) != KeySize {
			err = ErrWrongKey
			return
		}
		copy(dst, kek)
		guard.Wipe(kek)
	})
	if err != nil {
		guard.Wipe(dst)
		return fmt.Errorf("open KEK %d: %w", s.KEK, err)
	}
	return nil
}

// WrapDEK seals a DEK under KEK version, as e.Wrapped.
func WrapDEK(e *keyring.DEK, kek, dek []byte, vault id.Vault, version uint64) error {
	return wrap(e, kek, dek, dekContext(vault, e.Item, e.Revision, version))
}

// UnwrapDEK opens what WrapDEK sealed into dst (KeySize bytes of guarded memory).
func UnwrapDEK(dst []byte, e *keyring.DEK, kek []byte, vault id.Vault, version uint64) error {
	return unwrap(dst, e, kek, dekContext(vault, e.Item, e.Revision, version))
}

// OwnKey derives into dst (KeySize bytes of guarded memory) the key that wraps the
// DEKs of an identity's pending changes. It derives from both private halves, so
// no pending change can be opened or forged without the two factors.
func OwnKey(dst, seeds []byte, vault id.Vault, identity id.Identity) (err error) {
	if len(dst) != KeySize || len(seeds) != HalvesSize {
		return fmt.Errorf("derive own key: %w", ErrSize)
	}
	info := string(NewContext(labelOwn, vault[:], identity[:]))
	guard.Do(func() {
		var key []byte
		if key, err = hkdf.Key(sha256.New, seeds, nil, info, KeySize); err != nil {
			return
		}
		copy(dst, key)
		guard.Wipe(key)
	})
	return err
}

// WrapWaiting seals a DEK under an identity's own key, bound to everything that the
// manifest will record about its revision.
func WrapWaiting(e *keyring.DEK, own, dek []byte, vault id.Vault, identity id.Identity) error {
	return wrap(e, own, dek, waitingContext(vault, identity, e))
}

// UnwrapWaiting opens what WrapWaiting sealed into dst.
func UnwrapWaiting(dst []byte, e *keyring.DEK, own []byte, vault id.Vault, identity id.Identity) error {
	return unwrap(dst, e, own, waitingContext(vault, identity, e))
}

func wrap(e *keyring.DEK, key, dek []byte, c Context) error {
	if len(dek) != KeySize {
		return fmt.Errorf("wrap DEK: %w", ErrSize)
	}
	sealed, err := Seal(key, c, dek)
	if err != nil {
		return fmt.Errorf("wrap DEK: %w", err)
	}
	copy(e.Wrapped[:], sealed)
	return nil
}

func unwrap(dst []byte, e *keyring.DEK, key []byte, c Context) error {
	if err := Open(dst, key, c, e.Wrapped[:]); err != nil {
		return fmt.Errorf("unwrap DEK of revision %v: %w", e.Revision, err)
	}
	return nil
}

// DeksMAC returns the MAC of a manifest under KEK version: HMAC-SHA256 over its
// hash, keyed by HKDF-SHA256 of the KEK without salt.
func DeksMAC(kek []byte, vault id.Vault, version uint64, hash id.Hash) (mac [keyring.MACSize]byte, err error) {
	if len(kek) != KeySize {
		return mac, fmt.Errorf("authenticate deks: %w", ErrSize)
	}
	info := string(NewContext(labelDeksMAC, vault[:], Uint(version)))
	guard.Do(func() {
		var key []byte
		if key, err = hkdf.Key(sha256.New, kek, nil, info, KeySize); err != nil {
			return
		}
		defer guard.Wipe(key)
		h := hmac.New(sha256.New, key)
		h.Write(hash[:])
		h.Sum(mac[:0])
	})
	return mac, err
}
