package signer

import (
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/bigmod"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// maxScalarSize is the size of a P-521 scalar in bytes.
const maxScalarSize = 66

// ecdsaKey is an ECDSA key. It signs with nistec and bigmod, the standard
// library's own arithmetic, instead of crypto/ecdsa, which caches what it derives
// from a key beyond the signature, and spends most of a P-256 signature on
// allocations.
type ecdsaKey struct {
	*keypair.ECDSA
	curve *curve
}

// parse reads curve and point (a certificate has them instead), and the scalar
// (RFC 9987 section 3.2.2).
func (c *curve) parse(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	from := r
	if cert != nil {
		from = cert
	}
	id, point := from.String(), from.String()
	d := r.Mpint()
	if from.Err() != nil {
		return nil, malformed(from.Err())
	}
	if r.Err() != nil {
		return nil, malformed(r.Err())
	}
	if string(id) != c.Name || len(point) == 0 {
		return nil, ErrMalformed
	}
	pair, err := keypair.NewECDSA(slab, c.Curve, d, point)
	if err != nil {
		return nil, err
	}
	return &ecdsaKey{ECDSA: pair, curve: c}, nil
}

func (k *ecdsaKey) appendSignature(dst, data []byte, _ uint32, _ bool) ([]byte, error) {
	var sum [sha512.Size]byte
	digest := k.curve.digest(sum[:0], data)
	var r, s [maxScalarSize]byte
	ok := false
	guard.Do(func() {
		// The first attempt fails with probability 2^-32 for P-256, and negligible
		// probability for the others.
		for attempt := byte(0); !ok && attempt < 8; attempt++ {
			ok = k.attempt(&r, &s, digest, attempt)
		}
	})
	if !ok {
		return nil, ErrFault
	}
	// RFC 5656 section 3.1.2: the signature is two mpints in a string.
	var room [2 * (4 + 1 + maxScalarSize)]byte
	rs := wire.AppendMpint(wire.AppendMpint(room[:0], r[:k.curve.Size]), s[:k.curve.Size])
	return appendSignatureBlob(dst, k.curve.Type, rs), nil
}

// attempt makes a signature (FIPS 186-5 section 6.4.1), or reports that this
// nonce can't be used. It runs inside guard.Do.
func (k *ecdsaKey) attempt(r, s *[maxScalarSize]byte, digest []byte, attempt byte) bool {
	c, size := k.curve, k.curve.Size
	n := c.Order()
	var nonce [maxScalarSize]byte
	defer clear(nonce[:])
	k.nonce(&nonce, digest, attempt)
	kN, err := bigmod.NewNat().SetBytes(nonce[:size], n)
	if err != nil || kN.IsZero() == 1 {
		return false
	}
	// r = x(k·G) mod n
	if !c.baseMultX(r, nonce[:size]) {
		return false
	}
	rN, err := bigmod.NewNat().SetOverflowingBytes(r[:size], n)
	if err != nil || rN.IsZero() == 1 {
		return false
	}
	// s = k⁻¹·(e + r·d) mod n
	d, err := bigmod.NewNat().SetBytes(k.Scalar.Bytes(), n)
	if err != nil || d.IsZero() == 1 { // wiped in the meantime
		return false
	}
	e, err := bigmod.NewNat().SetOverflowingBytes(digest, n)
	if err != nil {
		return false
	}
	inverse := bigmod.NewNat().Exp(kN, c.orderMinus2(), n) // by Fermat
	sN := d.Mul(rN, n).Add(e, n).Mul(inverse, n)
	putNat(r[:size], rN)
	putNat(s[:size], sN)
	return sN.IsZero() == 0
}

// nonce derives a nonce candidate from the private key, fresh randomness and the
// digest, as SHA-512(attempt, block, d, randomness, digest): uniform if the
// randomness is good, and never the same for two digests even if it isn't (the aim
// of draft-irtf-cfrg-det-sigs-with-noise). The caller rejects candidates that aren't
// below the order, so there is no bias.
func (k *ecdsaKey) nonce(out *[maxScalarSize]byte, digest []byte, attempt byte) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: it crashes the process instead
	var sum [sha512.Size]byte
	h := sha512.New()
	rest := out[:k.curve.Size]
	for block := byte(0); len(rest) > 0; block++ {
		h.Reset()
		h.Write([]byte{attempt, block})
		h.Write(k.Scalar.Bytes())
		h.Write(random[:])
		h.Write(digest)
		h.Sum(sum[:0])
		rest = rest[copy(rest, sum[:]):]
	}
	h.Reset()
	clear(sum[:])
	clear(random[:])
	out[0] &= k.curve.topMask
}

// putNat writes x to all of dst, big-endian. x must fit.
func putNat(dst []byte, x *bigmod.Nat) {
	limbs := x.Bits()
	const bytesPerLimb = 32 << (^uint(0) >> 63) / 8
	for i := range dst {
		at := len(dst) - 1 - i // from the least significant on
		dst[at] = byte(limbs[i/bytesPerLimb] >> (i % bytesPerLimb * 8))
	}
}

func (k *ecdsaKey) plainBlob() []byte {
	b := wire.AppendString(nil, k.curve.Type)
	return wire.AppendString(wire.AppendString(b, k.curve.Name), k.Point)
}

func (k *ecdsaKey) free() { k.Free() }
