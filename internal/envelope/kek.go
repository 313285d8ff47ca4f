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
// suite keyring.Suite, info binding vault, identity and version, no AAD. It says
// nothing about who sealed; the signed record that names the seal does.
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

// OpenKEK opens a seal that the members chain has matched into dst (KeySize
// bytes of guarded memory). Its error is ErrWrongKey or ErrSize: HPKE doesn't
// tell a wrong key from a changed ciphertext.
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

// WrapDEK seals a DEK under KEK version for one revision of an item.
func WrapDEK(kek, dek []byte, vault id.Vault, item id.Item, revision id.Revision, version uint64) (out [keyring.WrappedDEKSize]byte, err error) {
	if len(dek) != KeySize {
		return out, fmt.Errorf("wrap DEK: %w", ErrSize)
	}
	sealed, err := Seal(kek, dekContext(vault, item, revision, version), dek)
	if err != nil {
		return out, fmt.Errorf("wrap DEK: %w", err)
	}
	copy(out[:], sealed)
	return out, nil
}

// UnwrapDEK opens a DEK into dst (KeySize bytes of guarded memory) with the KEK
// of version e.KEK.
func UnwrapDEK(dst, kek []byte, vault id.Vault, e keyring.DEK) error {
	if err := Open(dst, kek, dekContext(vault, e.Item, e.Revision, e.KEK), e.Wrapped[:]); err != nil {
		return fmt.Errorf("unwrap DEK of revision %v: %w", e.Revision, err)
	}
	return nil
}

// DeksMAC returns the MAC of a deks object under KEK version: HMAC-SHA256 over
// its stored bytes, keyed by HKDF-SHA256 of the KEK without salt.
func DeksMAC(kek []byte, vault id.Vault, version uint64, stored []byte) (mac [keyring.MACSize]byte, err error) {
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
		h.Write(stored)
		h.Sum(mac[:0])
	})
	return mac, err
}
