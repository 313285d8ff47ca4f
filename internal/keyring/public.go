package keyring

import (
	"crypto/ecdh"
	"crypto/mlkem"
)

// check reports an HPKE key that nobody can seal to: an ML-KEM-768 key that
// isn't reduced (FIPS 203, section 7.2), or a point of X25519 whose shared
// secret is zero whoever computes it (RFC 7748, section 6.1).
func (p *Public) check() error {
	const lattice = mlkem.EncapsulationKeySize768
	if _, err := mlkem.NewEncapsulationKey768(p.HPKE[:lattice]); err != nil {
		return err
	}
	point, err := ecdh.X25519().NewPublicKey(p.HPKE[lattice:])
	if err != nil {
		return err
	}
	// Any private key does: each is a multiple of the cofactor.
	any, err := ecdh.X25519().NewPrivateKey(make([]byte, 32))
	if err != nil {
		return err
	}
	_, err = any.ECDH(point)
	return err
}
