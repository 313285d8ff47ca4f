package signer

import (
	"crypto"
	_ "crypto/sha1" // crypto.SHA1
	"encoding/binary"

	"filippo.io/bigmod"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

const (
	typeRSA = "ssh-rsa"
	certRSA = "ssh-rsa-cert-v01@openssh.com"
)

// rsaKey is an RSA key with its Chinese remainder values. It signs with bigmod,
// crypto/rsa's own arithmetic, instead of crypto/rsa, so that the two
// exponentiations can run in parallel and no parsed key outlives a signature.
type rsaKey struct{ *keypair.RSA }

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
	numbers := keypair.RSANumbers{N: n, E: e, D: r.Mpint(), QInv: r.Mpint(), P: r.Mpint(), Q: r.Mpint()}
	if err := r.Err(); err != nil {
		return nil, malformed(err)
	}
	pair, err := keypair.NewRSA(slab, numbers)
	if err != nil {
		return nil, err
	}
	return &rsaKey{pair}, nil
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
	sig := make([]byte, len(k.N))
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
	v := k.Values()
	half := func(power **bigmod.Nat, prime, exponent []byte) {
		guard.Do(func() {
			m, err1 := bigmod.NewModulus(prime)
			c, err2 := bigmod.NewNat().SetBytes(b, k.Modulus)
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
			half(&mQ, v.Q, v.DQ)
		}()
		half(&mP, v.P, v.DP)
		<-done
	} else {
		half(&mP, v.P, v.DP)
		half(&mQ, v.Q, v.DQ)
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
func (k *rsaKey) combine(b []byte, mP, mQ *bigmod.Nat, v *keypair.RSAValues) bool {
	p, err1 := bigmod.NewModulus(v.P)
	c, err2 := bigmod.NewNat().SetBytes(b, k.Modulus)
	if err1 != nil || err2 != nil {
		return false
	}
	inv, err1 := bigmod.NewNat().SetBytes(v.QInv, p)
	q, err2 := bigmod.NewNat().SetBytes(v.Q, k.Modulus)
	if err1 != nil || err2 != nil {
		return false
	}
	m := mP.Sub(bigmod.NewNat().Mod(mQ, p), p)
	m.Mul(inv, p)
	m.ExpandFor(k.Modulus).Mul(q, k.Modulus)
	m.Add(mQ.ExpandFor(k.Modulus), k.Modulus)
	if bigmod.NewNat().ExpShortVarTime(m, k.E, k.Modulus).Equal(c) != 1 {
		return false
	}
	copy(b, m.Bytes(k.Modulus))
	return true
}

// plainBlob returns string "ssh-rsa", mpint e, mpint n (RFC 4253 section 6.6).
func (k *rsaKey) plainBlob() []byte {
	var e [4]byte
	binary.BigEndian.PutUint32(e[:], uint32(k.E))
	b := make([]byte, 0, 4+len(typeRSA)+4+5+4+1+len(k.N))
	return wire.AppendMpint(wire.AppendMpint(wire.AppendString(b, typeRSA), e[:]), k.N)
}

func (k *rsaKey) free() { k.Free() }
