package keyfile

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"math/bits"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

// rsaNumbers are the numbers every format has, as big-endian magnitudes without
// leading zeros. iqmp and the CRT exponents are computed: some files lack them,
// and wrong ones would make signatures that reveal the key.
type rsaNumbers struct{ n, e, d, p, q []byte }

func bitLen(m []byte) int {
	for len(m) > 0 && m[0] == 0 {
		m = m[1:]
	}
	if len(m) == 0 {
		return 0
	}
	return 8*(len(m)-1) + bits.Len8(m[0])
}

// checkRSABits refuses a modulus outside the limits.
func checkRSABits(size int) error {
	switch {
	case size < MinRSABits:
		return &UnsupportedError{
			Type:   fmt.Sprintf("RSA of %d bits", size),
			Advice: fmt.Sprintf("too short to be safe; %d is the least", MinRSABits),
		}
	case size > MaxRSABits:
		return &UnsupportedError{
			Type:   fmt.Sprintf("RSA of %d bits", size),
			Advice: fmt.Sprintf("%d is the most", MaxRSABits),
		}
	}
	return nil
}

// check refuses numbers whose sizes alone rule them out, before any arithmetic.
func (k rsaNumbers) check() error {
	size := bitLen(k.n)
	if err := checkRSABits(size); err != nil {
		return err
	}
	switch {
	case bitLen(k.e) > 31: // what crypto/rsa and the tools agree on
		return &UnsupportedError{Type: "RSA with a public exponent above 2^31"}
	case bitLen(k.d) == 0 || bitLen(k.d) > size, bitLen(k.p)+bitLen(k.q) > size+1:
		return fmt.Errorf("check RSA key: %w", ErrMismatch)
	case bitLen(k.p) < size/4, bitLen(k.q) < size/4:
		return damaged("RSA primes")
	}
	return nil
}

// newRSA makes a Key from k. crypto/rsa checks that d inverts e, and a signature
// checks that the key works.
func newRSA(k rsaNumbers) (*Key, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	n, e, d := new(big.Int).SetBytes(k.n), new(big.Int).SetBytes(k.e), new(big.Int).SetBytes(k.d)
	p, q := new(big.Int).SetBytes(k.p), new(big.Int).SetBytes(k.q)
	defer wipeInts(d, p, q)
	if new(big.Int).Mul(p, q).Cmp(n) != 0 {
		return nil, fmt.Errorf("check RSA key: %w", ErrMismatch)
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())},
		D:         d,
		Primes:    []*big.Int{p, q},
	}
	private.Precompute()
	if err := tryRSA(private); err != nil {
		return nil, err
	}
	iqmp := new(big.Int).ModInverse(q, p)
	if iqmp == nil {
		return nil, fmt.Errorf("check RSA key: %w", ErrMismatch)
	}
	defer wipeInts(iqmp, private.Precomputed.Dp, private.Precomputed.Dq, private.Precomputed.Qinv)
	inverse := iqmp.FillBytes(make([]byte, (p.BitLen()+7)/8))
	defer guard.Wipe(inverse)

	blob := wire.AppendString(nil, typeRSA)
	blob = wire.AppendMpint(blob, k.e)
	blob = wire.AppendMpint(blob, k.n)
	size := 4 + len(typeRSA)
	fields := [][]byte{k.n, k.e, k.d, inverse, k.p, k.q} // RFC 9987 section 3.2.6
	for _, f := range fields {
		size += mpintSize(f)
	}
	return newKey(typeRSA, blob, size, func(b []byte) []byte {
		b = wire.AppendString(b, typeRSA)
		for _, f := range fields {
			b = wire.AppendMpint(b, f)
		}
		return b
	})
}

// tryRSA returns ErrMismatch for a private key that makes no valid signatures. On
// a bad key, crypto/rsa's arithmetic may panic; tryRSA recovers, because the file
// is at fault.
func tryRSA(private *rsa.PrivateKey) (err error) {
	mismatch := fmt.Errorf("check RSA key: %w", ErrMismatch)
	defer func() {
		if recover() != nil {
			err = mismatch
		}
	}()
	if private.Validate() != nil {
		return mismatch
	}
	sum := sha256.Sum256([]byte("vigil"))
	signature, signErr := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	if signErr != nil || rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return mismatch
	}
	return nil
}

func wipeInts(ints ...*big.Int) {
	for _, i := range ints {
		if i != nil {
			clear(i.Bits())
		}
	}
}
