package envelope

import (
	"fmt"

	"vigil/internal/guard"
)

// Sizes of padded plaintexts, in bytes.
const (
	padUnit = 512
	// MaxMeta is the largest size of padded metadata: enough for an OpenSSH
	// certificate and destination constraints for a few hundred hosts.
	MaxMeta = 64 << 10
	// MaxSecret is the largest size of a padded private key: what an agent
	// message can carry.
	MaxSecret = 256 << 10
)

// MetaSize returns the padded size of n bytes of metadata: the next multiple of
// 512 that has room for one more byte.
func MetaSize(n int) int { return (n/padUnit + 1) * padUnit }

// SecretSize returns the padded size of n bytes of private key: the next 512·2ᵏ
// that has room for one more byte.
func SecretSize(n int) int {
	size := padUnit
	for size <= n {
		size *= 2
	}
	return size
}

// SealMeta pads and seals an item's metadata under its DEK.
func SealMeta(dek []byte, b Binding, meta []byte) ([]byte, error) {
	return sealPadded(dek, b.context(labelMeta), meta, MetaSize(len(meta)), MaxMeta)
}

// SealSecret pads and seals a private key under its DEK. It copies the key to
// fresh heap memory, where the ciphertext overwrites it in place.
func SealSecret(dek []byte, b Binding, secret []byte) ([]byte, error) {
	return sealPadded(dek, b.context(labelSecret), secret, SecretSize(len(secret)), MaxSecret)
}

// OpenMeta opens metadata into dst, which must have OpenSize(sealed) bytes, and
// returns its length without padding; the rest of dst is zeros.
func OpenMeta(dst, dek []byte, b Binding, sealed []byte) (n int, err error) {
	return openPadded(dst, dek, b.context(labelMeta), sealed, MetaSize, MaxMeta)
}

// OpenSecret opens a private key into dst, which must have OpenSize(sealed)
// bytes of guarded memory, and returns its length without padding; the rest of
// dst is zeros.
func OpenSecret(dst, dek []byte, b Binding, sealed []byte) (n int, err error) {
	return openPadded(dst, dek, b.context(labelSecret), sealed, SecretSize, MaxSecret)
}

// OpenSize returns the size of the padded plaintext of sealed, or 0 if sealed is
// too short to be a seal.
func OpenSize(sealed []byte) int { return max(len(sealed)-Overhead, 0) }

// sealPadded pads as ISO/IEC 7816-4 does: 0x80, then zeros.
func sealPadded(dek []byte, c Context, plaintext []byte, size, limit int) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("seal %d bytes: %w: at most %d", len(plaintext), ErrSize, limit-1)
	}
	out := make([]byte, saltSize+commitmentSize+size, Overhead+size)
	body := out[saltSize+commitmentSize:]
	guard.Copy(body, plaintext)
	body[len(plaintext)] = 0x80
	sealed, err := sealInPlace(out, dek, c)
	if err != nil {
		guard.Wipe(body)
	}
	return sealed, err
}

func openPadded(dst, dek []byte, c Context, sealed []byte, size func(int) int, limit int) (int, error) {
	if OpenSize(sealed) > limit || OpenSize(sealed) == 0 {
		clear(dst)
		return 0, ErrSize
	}
	if err := Open(dst, dek, c, sealed); err != nil {
		return 0, err
	}
	n := len(dst) - 1
	for n >= 0 && dst[n] == 0 {
		n--
	}
	if n < 0 || dst[n] != 0x80 || size(n) != len(dst) {
		guard.Wipe(dst)
		return 0, ErrPadding
	}
	dst[n] = 0
	return n, nil
}
