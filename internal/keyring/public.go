package keyring

import (
	"encoding/hex"
	"errors"
)

// latticeKey is the size in bytes of the ML-KEM-768 part of an HPKE key: three
// polynomials of 256 coefficients, two of them in three bytes, and a seed.
const (
	latticeKey   = 1184
	coefficients = latticeKey - 32
	modulus      = 3329
)

// check reports an HPKE key that can't be sealed to: an ML-KEM-768 key that isn't
// reduced (FIPS 203, section 7.2), or an X25519 point whose shared secret is
// always zero (RFC 7748, section 6.1). That is cheaper than a trial seal: a chain
// may have many thousands of keys.
func (p *Public) check() error {
	for at := 0; at < coefficients; at += 3 {
		a, b, c := uint16(p.HPKE[at]), uint16(p.HPKE[at+1]), uint16(p.HPKE[at+2])
		if a|b&15<<8 >= modulus || b>>4|c<<4 >= modulus {
			return errors.New("its ML-KEM part isn't reduced")
		}
	}
	if smallPoint([32]byte(p.HPKE[latticeKey:])) {
		return errors.New("its X25519 part is of small order")
	}
	return nil
}

// smallPoint reports whether a u-coordinate is of small order, on Curve25519 or
// its twist. X25519 ignores its highest bit.
func smallPoint(u [32]byte) bool {
	u[31] &= 0x7f
	switch hex.EncodeToString(u[:]) {
	case
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p − 1
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": // p + 1
		return true
	}
	return false
}
