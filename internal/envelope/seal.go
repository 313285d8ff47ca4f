package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"fmt"

	"vigil/internal/guard"
)

// Seal encrypts plaintext under key for context, as salt ‖ commitment ‖
// ciphertext ‖ tag: Overhead bytes more than the plaintext. key has KeySize
// bytes. The result is newly allocated, and public.
func Seal(key []byte, c Context, plaintext []byte) ([]byte, error) {
	out := make([]byte, saltSize+commitmentSize+len(plaintext), Overhead+len(plaintext))
	guard.Copy(out[saltSize+commitmentSize:], plaintext)
	return sealInPlace(out, key, c)
}

// sealInPlace seals the plaintext in out[64:], which has capacity for the tag, and
// returns the complete seal.
func sealInPlace(out, key []byte, c Context) ([]byte, error) {
	rand.Read(out[:saltSize])
	return sealSalted(out, key, c)
}

// sealSalted is sealInPlace with the salt already in out[:32].
func sealSalted(out, key []byte, c Context) (sealed []byte, err error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("seal: key: %w", ErrSize)
	}
	nonce := newNonce()
	guard.Do(func() {
		var gcm cipher.AEAD
		var commitment [commitmentSize]byte
		if gcm, err = derive(&commitment, key, out[:saltSize], c); err != nil {
			return
		}
		copy(out[saltSize:], commitment[:])
		body := out[saltSize+commitmentSize:]
		sealed = gcm.Seal(body[:0], nonce, body, c)
		sealed = out[:saltSize+commitmentSize+len(sealed)]
	})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open decrypts a seal made by Seal into dst, which must have exactly Overhead
// bytes fewer. On error it zeroes dst. Errors are ErrSize, ErrWrongKey and
// ErrDamaged.
func Open(dst, key []byte, c Context, sealed []byte) (err error) {
	if len(key) != KeySize || len(sealed) < Overhead || len(dst) != len(sealed)-Overhead {
		clear(dst)
		return ErrSize
	}
	nonce := newNonce()
	guard.Do(func() {
		var gcm cipher.AEAD
		var commitment [commitmentSize]byte
		if gcm, err = derive(&commitment, key, sealed[:saltSize], c); err != nil {
			return
		}
		// Check it before decrypting, so that no ciphertext opens under two keys.
		if subtle.ConstantTimeCompare(commitment[:], sealed[saltSize:saltSize+commitmentSize]) != 1 {
			err = ErrWrongKey
			return
		}
		body := sealed[saltSize+commitmentSize:]
		if _, failed := gcm.Open(dst[:0], nonce, body, c); failed != nil {
			err = ErrDamaged
		}
	})
	if err != nil {
		guard.Wipe(dst)
	}
	return err
}

// newNonce returns the nonce of every seal: zero, as a key is used once. It is made
// outside guard.Do, which tracks each allocation until it is erased.
func newNonce() []byte { return make([]byte, 12) }

// derive returns the single-use cipher for a salt and fills in the commitment to its
// key. It must run inside guard.Do.
func derive(commitment *[commitmentSize]byte, key, salt []byte, c Context) (cipher.AEAD, error) {
	var okm [KeySize + commitmentSize]byte
	expand(&okm, key, salt, c)
	defer clear(okm[:])
	copy(commitment[:], okm[KeySize:])
	block, err := aes.NewCipher(okm[:KeySize])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// NewKey fills dst with a random key. dst has KeySize bytes.
func NewKey(dst []byte) error {
	if len(dst) != KeySize {
		return ErrSize
	}
	guard.Do(func() { rand.Read(dst) }) // a vDSO makes it in registers
	return nil
}
