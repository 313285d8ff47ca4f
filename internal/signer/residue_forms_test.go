//go:build linux

package signer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"

	"vigil/internal/wire"
)

// compositeSeeds are the two seeds of an ML-DSA-44 and Ed25519 key.
type compositeSeeds []byte

// libraryKey reads an encoding into the standard library's types.
func libraryKey(encoded []byte) (crypto.PrivateKey, error) {
	r := wire.NewReader(encoded)
	switch name := string(r.String()); name {
	case typeEd25519:
		r.String()
		return ed25519.PrivateKey(r.String()), r.End()
	case typeMLDSA:
		r.String()
		return compositeSeeds(r.String()), r.End()
	case typeRSA:
		n, e, d, _, p, q := r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint()
		k := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())},
			D:         new(big.Int).SetBytes(d),
			Primes:    []*big.Int{new(big.Int).SetBytes(p), new(big.Int).SetBytes(q)},
		}
		k.Precompute()
		return k, r.End()
	default:
		r.String()
		r.String()
		d := r.Mpint()
		for i := range curves {
			if c := &curves[i]; c.Type == name {
				full := append(make([]byte, c.Size-len(d)), d...)
				return ecdsa.ParseRawPrivateKey(ellipticCurve(c), full)
			}
		}
		return nil, errors.New("unknown type")
	}
}

// formsEd25519 adds the seed, the expanded key and the nonces (RFC 8032 section
// 5.1.6), each also unreduced.
func formsEd25519(forms map[string][]byte, modular func(string, *big.Int, *big.Int, int),
	seed []byte, sigs [][]byte, data func(int) []byte,
) {
	l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
	littleEndian := func(b []byte) *big.Int {
		be := bytes.Clone(b)
		for i, j := 0, len(be)-1; i < j; i, j = i+1, j-1 {
			be[i], be[j] = be[j], be[i]
		}
		return new(big.Int).SetBytes(be)
	}
	h := sha512.Sum512(seed)
	forms["seed"] = seed
	forms["seed's hash"] = bytes.Clone(h[:32])
	forms["nonce prefix"] = bytes.Clone(h[32:])
	clamped := bytes.Clone(h[:32])
	clamped[0] &= 248
	clamped[31] = clamped[31]&63 | 64
	forms["clamped scalar"] = clamped
	modular("scalar", new(big.Int).Mod(littleEndian(clamped), l), l, 32)
	for i := range sigs {
		wide := sha512.Sum512(append(bytes.Clone(h[32:]), data(i)...))
		forms[fmt.Sprintf("nonce %d unreduced", i)] = bytes.Clone(wide[:])
		modular(fmt.Sprintf("nonce %d", i), new(big.Int).Mod(littleEndian(wide[:]), l), l, 32)
	}
}

// formsMLDSA adds the seed and what it expands to (FIPS 204 algorithm 6).
func formsMLDSA(forms map[string][]byte, seeds compositeSeeds) {
	forms["ML-DSA seed"] = seeds[:32]
	h := sha3.NewSHAKE256()
	_, _ = h.Write(append(bytes.Clone(seeds[:32]), 4, 4))
	var expanded [128]byte
	_, _ = h.Read(expanded[:])
	forms["ML-DSA rho'"] = expanded[32:96]
	forms["ML-DSA K"] = expanded[96:]
}

// ellipticCurve returns the library's curve.
func ellipticCurve(c *curve) elliptic.Curve {
	return map[int]elliptic.Curve{32: elliptic.P256(), 48: elliptic.P384(), 66: elliptic.P521()}[c.Size]
}
