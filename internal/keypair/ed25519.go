package keypair

import (
	"bytes"
	"crypto/sha512"
	"fmt"

	"filippo.io/edwards25519"

	"vigil/internal/guard"
)

const (
	// SeedSize and PointSize are the sizes of Ed25519's private and public key, in
	// bytes (RFC 8032 section 5.1.5).
	SeedSize  = 32
	PointSize = 32
	// expandedSize is the size of an expanded Ed25519 key.
	expandedSize = 64
)

// Ed25519 is an Ed25519 key whose seed and public key belong together. It owns guarded
// memory until Free.
type Ed25519 struct {
	Public [PointSize]byte
	// Expanded is the scalar, reduced, little-endian, and the nonce prefix.
	Expanded *guard.Buffer
}

// NewEd25519 expands seed into slab. public is the public half, or nil if there is none
// to compare with. NewEd25519 fails with ErrMalformed, ErrMismatch or an error of the slab.
func NewEd25519(slab *guard.Slab, seed, public []byte) (*Ed25519, error) {
	if len(seed) != SeedSize || public != nil && len(public) != PointSize {
		return nil, fmt.Errorf("%w: size of an Ed25519 key", ErrMalformed)
	}
	buf, err := slab.Alloc(expandedSize)
	if err != nil {
		return nil, err
	}
	k := &Ed25519{Expanded: buf, Public: expand(buf.Bytes(), seed)}
	if public != nil && !bytes.Equal(k.Public[:], public) {
		k.Free()
		return nil, ErrMismatch
	}
	return k, nil
}

// Free wipes the private half.
func (k *Ed25519) Free() { k.Expanded.Free() }

// expand expands a seed into dst (RFC 8032 section 5.1.5) and returns the public key.
func expand(dst, seed []byte) (public [PointSize]byte) {
	guard.Do(func() {
		h := sha512.Sum512(seed)
		s, err := new(edwards25519.Scalar).SetBytesWithClamping(h[:32])
		if err != nil {
			panic("keypair: half a SHA-512 is not 32 bytes") // can't happen
		}
		copy(dst, s.Bytes())
		copy(dst[32:], h[32:])
		copy(public[:], new(edwards25519.Point).ScalarBaseMult(s).Bytes())
		clear(h[:])
		*s = edwards25519.Scalar{}
	})
	return public
}
