package keypair

import (
	"bytes"
	"fmt"
	"math/bits"

	"filippo.io/bigmod"

	"vigil/internal/guard"
)

const (
	// MinRSABits and MaxRSABits bound an RSA modulus. OpenSSH accepts 1,024 to
	// 16,384. A well-funded attacker can factor one below 2,048; above 8,192 a
	// signature takes longer than a login waits, and would block others.
	MinRSABits = 2048
	MaxRSABits = 8192

	// maxExponentBits bounds the public exponent, as crypto/rsa does.
	maxExponentBits = 31

	// maxInteger is the longest private exponent, in bytes: the longest integer
	// that OpenSSH reads (SSHBUF_MAX_BIGNUM). Some tools write d plus a multiple
	// of φ(n).
	maxInteger = 16384 / 8
)

// RSANumbers are the numbers of an RSA key with two primes (RFC 8017 section 3.2), as
// big-endian magnitudes. QInv, the inverse of Q modulo P, is only a hint: a file may
// lack it, or have that of the primes in the other order.
type RSANumbers struct{ N, E, D, P, Q, QInv []byte }

// RSA is an RSA key whose numbers belong together. It owns guarded memory until Free.
type RSA struct {
	N       []byte // big-endian, without leading zeros; don't change it
	E       uint
	Modulus *bigmod.Modulus // N

	secret       *guard.Buffer
	pSize, qSize int
}

// RSAValues are the private numbers that sign: the primes, the private exponent modulo
// P−1 and Q−1, and the inverse of Q modulo P. They are big-endian in guarded memory, those
// modulo P as long as P, those modulo Q as long as Q.
type RSAValues struct{ P, DP, QInv, Q, DQ []byte }

// NewRSA copies the key with these numbers into slab. DP, DQ and, unless it is right,
// QInv are computed. It fails with ErrUnsupported, ErrMalformed, ErrMismatch or an error
// of the slab. That P and Q are primes only a signature shows: see Works.
func NewRSA(slab *guard.Slab, k RSANumbers) (*RSA, error) {
	r, err := publicRSA(trim(k.N), trim(k.E))
	if err != nil {
		return nil, err
	}
	p, q, d := trim(k.P), trim(k.Q), trim(k.D)
	switch {
	case len(p) == 0 || len(q) == 0:
		return nil, fmt.Errorf("%w: an RSA prime is missing", ErrMalformed)
	case len(d) == 0:
		return nil, fmt.Errorf("%w: the RSA private exponent is missing", ErrMalformed)
	case len(d) > maxInteger:
		return nil, fmt.Errorf("%w: the RSA private exponent is too long", ErrMalformed)
	case len(p)+len(q) > len(r.N)+1, p[len(p)-1]&1 == 0, q[len(q)-1]&1 == 0: // bigmod has no even primes
		return nil, ErrMismatch
	case len(p) < len(r.N)/4, len(q) < len(r.N)/4:
		return nil, fmt.Errorf("%w: the RSA primes are of very unequal length", ErrMalformed)
	}
	r.pSize, r.qSize = len(p), len(q)
	if r.secret, err = slab.Alloc(3*r.pSize + 2*r.qSize); err != nil {
		return nil, err
	}
	v := r.Values()
	guard.Copy(v.P, p)
	guard.Copy(v.Q, q)
	ok := false
	guard.Do(func() { ok = r.complete(&v, d, trim(k.QInv)) })
	if !ok {
		r.Free()
		return nil, ErrMismatch
	}
	return r, nil
}

// CheckRSABits returns why a modulus of that many bits is not supported, or nil.
func CheckRSABits(size int) error {
	switch {
	case size < MinRSABits:
		return fmt.Errorf("RSA of %d bits is %w: too short to be safe; %d is the least", size, ErrUnsupported, MinRSABits)
	case size > MaxRSABits:
		return fmt.Errorf("RSA of %d bits is %w: %d is the most", size, ErrUnsupported, MaxRSABits)
	}
	return nil
}

// publicRSA checks the public half.
func publicRSA(n, e []byte) (*RSA, error) {
	if len(n) == 0 {
		return nil, fmt.Errorf("%w: the RSA modulus is missing", ErrMalformed)
	}
	if err := CheckRSABits(bitLen(n)); err != nil {
		return nil, err
	}
	if bitLen(e) > maxExponentBits {
		return nil, fmt.Errorf("RSA with a public exponent of 2^%d or more is %w: no SSH tool makes one", maxExponentBits, ErrUnsupported)
	}
	exponent := uint(0)
	for _, b := range e {
		exponent = exponent<<8 | uint(b)
	}
	if exponent < 3 || exponent&1 == 0 || n[len(n)-1]&1 == 0 {
		return nil, fmt.Errorf("%w: RSA modulus or public exponent", ErrMalformed)
	}
	modulus, err := bigmod.NewModulus(n)
	if err != nil {
		return nil, fmt.Errorf("%w: RSA modulus", ErrMalformed)
	}
	return &RSA{N: bytes.Clone(n), E: exponent, Modulus: modulus}, nil
}

func bitLen(m []byte) int {
	if len(m) == 0 {
		return 0
	}
	return 8*(len(m)-1) + bits.Len8(m[0])
}

// Values returns the private numbers. They are valid until Free.
func (k *RSA) Values() RSAValues {
	b, p, q := k.secret.Bytes(), k.pSize, k.qSize
	return RSAValues{
		P: b[:p], DP: b[p : 2*p], QInv: b[2*p : 3*p],
		Q: b[3*p : 3*p+q], DQ: b[3*p+q : 3*p+2*q],
	}
}

// Free wipes the private numbers.
func (k *RSA) Free() { k.secret.Free() }

// complete computes v.DP, v.DQ and v.QInv, and reports whether p·q = n, d·e ≡ 1
// (mod p−1 and mod q−1) and q has an inverse modulo p. It runs inside guard.Do.
func (k *RSA) complete(v *RSAValues, d, qInv []byte) bool {
	product, err := bigmod.NewModulusProduct(v.P, v.Q)
	if err != nil || !bytes.Equal(product.Nat().Bytes(product), k.N) {
		return false
	}
	p, err1 := bigmod.NewModulus(v.P)
	q, err2 := bigmod.NewModulus(v.Q)
	// d may be above n, so it is read modulo a power of 256 that it is below.
	above, err3 := bigmod.NewModulus(append([]byte{1}, make([]byte, len(d))...))
	if err1 != nil || err2 != nil || err3 != nil {
		return false
	}
	exponent, err := bigmod.NewNat().SetBytes(d, above)
	if err != nil || !k.inverseExponent(v.DP, exponent, p) || !k.inverseExponent(v.DQ, exponent, q) {
		return false
	}
	return inverse(v.QInv, q.Nat(), p, qInv)
}

// inverseExponent writes d mod prime−1 to out, and reports whether it is e's
// inverse modulo prime−1.
func (k *RSA) inverseExponent(out []byte, d *bigmod.Nat, prime *bigmod.Modulus) bool {
	order, err := bigmod.NewModulus(prime.Nat().SubOne(prime).Bytes(prime))
	if err != nil {
		return false
	}
	reduced := bigmod.NewNat().Mod(d, order)
	b := reduced.Bytes(order)
	copy(out[len(out)-len(b):], b)
	one := bigmod.NewNat().Mod(bigmod.NewNat().SetUint(k.E), order)
	return one.Mul(reduced, order).IsOne() == 1
}

// inverse writes the inverse of q modulo the prime p to out: hint, if that is it, or
// else q^(p−2), by Fermat's theorem. It reports whether out is the inverse.
func inverse(out []byte, q *bigmod.Nat, p *bigmod.Modulus, hint []byte) bool {
	q = bigmod.NewNat().Mod(q, p)
	is := func(x *bigmod.Nat) bool {
		copy(out, x.Bytes(p))
		return bigmod.NewNat().Mod(x, p).Mul(q, p).IsOne() == 1
	}
	if len(hint) <= len(out) {
		if x, err := bigmod.NewNat().SetBytes(hint, p); err == nil && is(x) {
			return true
		}
	}
	minus2 := p.Nat().SubOne(p).SubOne(p).Bytes(p)
	return is(bigmod.NewNat().Exp(q, minus2, p))
}

// Works reports whether the private half undoes what the public half does to a number,
// which shows that the primes are primes. It costs as much as a signature.
func (k *RSA) Works() (ok bool) {
	v := k.Values()
	guard.Do(func() {
		const number = 2
		power := bigmod.NewNat().Mod(bigmod.NewNat().SetUint(number), k.Modulus)
		power = bigmod.NewNat().ExpShortVarTime(power, k.E, k.Modulus)
		ok = undoes(power, v.P, v.DP, number) && undoes(power, v.Q, v.DQ, number)
	})
	return ok
}

// undoes reports whether power^exponent modulo prime is number.
func undoes(power *bigmod.Nat, prime, exponent []byte, number uint) bool {
	m, err := bigmod.NewModulus(prime)
	if err != nil {
		return false
	}
	got := bigmod.NewNat().Exp(bigmod.NewNat().Mod(power, m), exponent, m)
	return got.Equal(bigmod.NewNat().Mod(bigmod.NewNat().SetUint(number), m)) == 1
}
