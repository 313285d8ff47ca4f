package signer

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // crypto.SHA1
	"encoding/binary"

	"filippo.io/bigmod"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

const (
	typeRSA = "ssh-rsa"
	certRSA = "ssh-rsa-cert-v01@openssh.com"

	// minRSABits and maxRSABits bound the modulus. A well-funded attacker can
	// factor one below 2048 bits; above 8192 bits a signature takes so long that
	// it would block others.
	minRSABits = 2048
	maxRSABits = 8192

	// maxRSAExponent bounds the public exponent, as crypto/rsa does.
	maxRSAExponent = 1<<31 - 1
)

// rsaKey is an RSA key with its Chinese remainder values. It signs with bigmod,
// crypto/rsa's own arithmetic, instead of crypto/rsa, so that the two
// exponentiations can run in parallel and no parsed key outlives a signature.
type rsaKey struct {
	modulus  *bigmod.Modulus
	n        []byte // big-endian, no leading zeros
	exponent uint
	// secret holds p, q, d mod p−1, d mod q−1 and q⁻¹ mod p, big-endian; those
	// mod p have pSize bytes, those mod q qSize.
	secret       *guard.Buffer
	pSize, qSize int
}

// parseRSA reads n and e (from a certificate: e and n), d, q⁻¹ mod p, p and q
// (RFC 9987 section 3.2.1).
func parseRSA(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	var n, e []byte
	if cert != nil {
		e, n = cert.Mpint(), cert.Mpint()
		if err := cert.Err(); err != nil {
			return nil, malformed(err)
		}
	} else {
		n, e = r.Mpint(), r.Mpint()
	}
	d, qInv, p, q := r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint()
	if err := r.Err(); err != nil {
		return nil, malformed(err)
	}
	k, err := publicRSA(n, e)
	if err != nil {
		return nil, err
	}
	// Refuse primes of very unequal length, and even ones, which bigmod can't handle.
	if len(p) < len(n)/4 || len(q) < len(n)/4 || len(p)+len(q) > len(n)+1 ||
		p[len(p)-1]&1 == 0 || q[len(q)-1]&1 == 0 || len(d) > len(n) || len(qInv) > len(p) {
		return nil, ErrMismatch
	}
	k.pSize, k.qSize = len(p), len(q)
	if k.secret, err = slab.Alloc(3*k.pSize + 2*k.qSize); err != nil {
		return nil, err
	}
	v := k.values()
	guard.Copy(v.p, p)
	guard.Copy(v.q, q)
	guard.Copy(v.qInv[len(v.qInv)-len(qInv):], qInv)
	ok := false
	guard.Do(func() { ok = k.complete(&v, d) })
	if !ok {
		k.secret.Free()
		return nil, ErrMismatch
	}
	return k, nil
}

// publicRSA checks the public half.
func publicRSA(n, e []byte) (*rsaKey, error) {
	if len(n) == 0 || len(n) > maxRSABits/8 || len(e) > 4 {
		return nil, ErrUnsupported
	}
	var wide [4]byte
	copy(wide[4-len(e):], e)
	exponent := binary.BigEndian.Uint32(wide[:])
	modulus, err := bigmod.NewModulus(n)
	if err != nil {
		return nil, ErrMalformed
	}
	if modulus.BitLen() < minRSABits || exponent > maxRSAExponent {
		return nil, ErrUnsupported
	}
	if n[len(n)-1]&1 == 0 || exponent < 3 || exponent&1 == 0 {
		return nil, ErrMalformed
	}
	return &rsaKey{modulus: modulus, n: bytes.Clone(n), exponent: uint(exponent)}, nil
}

// rsaValues are the private values, each a part of the guarded buffer.
type rsaValues struct{ p, dP, qInv, q, dQ []byte }

func (k *rsaKey) values() rsaValues {
	b, p, q := k.secret.Bytes(), k.pSize, k.qSize
	return rsaValues{
		p: b[:p], dP: b[p : 2*p], qInv: b[2*p : 3*p],
		q: b[3*p : 3*p+q], dQ: b[3*p+q : 3*p+2*q],
	}
}

// complete computes dP and dQ from d, and reports whether p·q = n, d·e ≡ 1
// (mod p−1 and mod q−1) and q·qInv ≡ 1 (mod p). It runs inside guard.Do.
func (k *rsaKey) complete(v *rsaValues, d []byte) bool {
	product, err := bigmod.NewModulusProduct(v.p, v.q)
	if err != nil || !bytes.Equal(product.Nat().Bytes(product), k.n) {
		return false
	}
	p, err1 := bigmod.NewModulus(v.p)
	q, err2 := bigmod.NewModulus(v.q)
	dN, err3 := bigmod.NewNat().SetBytes(d, k.modulus)
	if err1 != nil || err2 != nil || err3 != nil {
		return false
	}
	if !k.inverseExponent(v.dP, dN, p) || !k.inverseExponent(v.dQ, dN, q) {
		return false
	}
	inv, err := bigmod.NewNat().SetBytes(v.qInv, p)
	if err != nil {
		return false
	}
	return bigmod.NewNat().Mod(q.Nat(), p).Mul(inv, p).IsOne() == 1
}

// inverseExponent writes d mod prime−1 to out, and reports whether it is e's
// inverse modulo prime−1.
func (k *rsaKey) inverseExponent(out []byte, d *bigmod.Nat, prime *bigmod.Modulus) bool {
	order, err := bigmod.NewModulus(prime.Nat().SubOne(prime).Bytes(prime))
	if err != nil {
		return false
	}
	reduced := bigmod.NewNat().Mod(d, order)
	b := reduced.Bytes(order)
	copy(out[len(out)-len(b):], b)
	one := bigmod.NewNat().SetUint(k.exponent).ExpandFor(order)
	return one.Mul(reduced, order).IsOne() == 1
}

// The DER encoded DigestInfo that precedes a hash (RFC 8017 section 9.2).
var (
	prefixSHA1   = []byte("\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14")
	prefixSHA256 = []byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")
	prefixSHA512 = []byte("\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40")
)

func (k *rsaKey) appendSignature(dst, data []byte, flags uint32, spareCore bool) ([]byte, error) {
	algorithm, hash, prefix := "", crypto.Hash(0), []byte(nil)
	switch {
	case flags&FlagSHA256 != 0:
		algorithm, hash, prefix = "rsa-sha2-256", crypto.SHA256, prefixSHA256
	case flags&FlagSHA512 != 0:
		algorithm, hash, prefix = "rsa-sha2-512", crypto.SHA512, prefixSHA512
	case flags&FlagSHA1 != 0:
		algorithm, hash, prefix = typeRSA, crypto.SHA1, prefixSHA1
	default:
		return nil, ErrSHA1
	}
	h := hash.New()
	h.Write(data)
	// sig is first the padded message, EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
	sig := make([]byte, len(k.n))
	sig[1] = 1
	hashed := len(sig) - hash.Size()
	separator := hashed - len(prefix) - 1
	for i := 2; i < separator; i++ {
		sig[i] = 0xff
	}
	copy(sig[separator+1:], prefix)
	h.Sum(sig[:hashed])
	if !k.exponentiate(sig, spareCore) {
		return nil, ErrFault
	}
	return appendSignatureBlob(dst, algorithm, sig), nil
}

// exponentiate replaces the number in b with its d-th power mod n (RFC 8017
// section 5.2.1, second form), and checks that the e-th power of that is the
// number again. If not, it zeroes b: one faulty half is enough to factor n.
func (k *rsaKey) exponentiate(b []byte, spareCore bool) (ok bool) {
	v := k.values()
	half := func(power **bigmod.Nat, prime, exponent []byte) {
		guard.Do(func() {
			m, err1 := bigmod.NewModulus(prime)
			c, err2 := bigmod.NewNat().SetBytes(b, k.modulus)
			if err1 == nil && err2 == nil {
				*power = bigmod.NewNat().Exp(bigmod.NewNat().Mod(c, m), exponent, m)
			}
		})
	}
	var mP, mQ *bigmod.Nat
	if spareCore {
		done := make(chan struct{})
		go func() {
			defer close(done)
			half(&mQ, v.q, v.dQ)
		}()
		half(&mP, v.p, v.dP)
		<-done
	} else {
		half(&mP, v.p, v.dP)
		half(&mQ, v.q, v.dQ)
	}
	if mP == nil || mQ == nil {
		clear(b)
		return false
	}
	guard.Do(func() { ok = k.combine(b, mP, mQ, &v) })
	if !ok {
		clear(b)
	}
	return ok
}

// combine joins the two halves: m = mQ + q·(qInv·(mP − mQ) mod p). It runs
// inside guard.Do.
func (k *rsaKey) combine(b []byte, mP, mQ *bigmod.Nat, v *rsaValues) bool {
	p, err1 := bigmod.NewModulus(v.p)
	c, err2 := bigmod.NewNat().SetBytes(b, k.modulus)
	if err1 != nil || err2 != nil {
		return false
	}
	inv, err1 := bigmod.NewNat().SetBytes(v.qInv, p)
	q, err2 := bigmod.NewNat().SetBytes(v.q, k.modulus)
	if err1 != nil || err2 != nil {
		return false
	}
	m := mP.Sub(bigmod.NewNat().Mod(mQ, p), p)
	m.Mul(inv, p)
	m.ExpandFor(k.modulus).Mul(q, k.modulus)
	m.Add(mQ.ExpandFor(k.modulus), k.modulus)
	if bigmod.NewNat().ExpShortVarTime(m, k.exponent, k.modulus).Equal(c) != 1 {
		return false
	}
	copy(b, m.Bytes(k.modulus))
	return true
}

// plainBlob returns string "ssh-rsa", mpint e, mpint n (RFC 4253 section 6.6).
func (k *rsaKey) plainBlob() []byte {
	var e [4]byte
	binary.BigEndian.PutUint32(e[:], uint32(k.exponent))
	b := make([]byte, 0, 4+len(typeRSA)+4+5+4+1+len(k.n))
	return wire.AppendMpint(wire.AppendMpint(wire.AppendString(b, typeRSA), e[:]), k.n)
}

func (k *rsaKey) free() { k.secret.Free() }
