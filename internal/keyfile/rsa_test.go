package keyfile

import (
	"crypto/rand"
	"errors"
	"math/big"
	"testing"

	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// rsaOf returns the numbers of a key with primes p and q and exponent e, d being
// e's inverse modulo (p-1)(q-1) where there is one, else 3.
func rsaOf(p, q *big.Int, e int64) keypair.RSANumbers {
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(big.NewInt(e), phi)
	if d == nil {
		d = big.NewInt(3)
	}
	n := new(big.Int).Mul(p, q)
	return keypair.RSANumbers{N: n.Bytes(), E: big.NewInt(e).Bytes(), D: d.Bytes(), P: p.Bytes(), Q: q.Bytes()}
}

// enlarged adds a multiple of φ(n) to a key's private exponent.
func enlarged(k keypair.RSANumbers, p, q *big.Int, times int64) keypair.RSANumbers {
	one := big.NewInt(1)
	phi := mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	k.D = new(big.Int).Add(new(big.Int).SetBytes(k.D), mul(phi, big.NewInt(times))).Bytes()
	return k
}

// prime returns a random prime that 65537 can be the exponent of.
func prime(t *testing.T, bits int) *big.Int {
	t.Helper()
	e := big.NewInt(65537)
	for {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if new(big.Int).Mod(p, e).Int64() != 1 {
			return p
		}
	}
}

func mul(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }

// TestStrangeRSA gives newRSA numbers whose sizes are right and which are no key,
// or one that is unlike what tools make.
func TestStrangeRSA(t *testing.T) {
	p, q := prime(t, 1024), prime(t, 1024)
	a, b := prime(t, 512), prime(t, 513)
	two, three := big.NewInt(2), big.NewInt(3)
	even := mul(two, prime(t, 1024))
	for _, c := range []struct {
		name string
		k    keypair.RSANumbers
		want error
	}{
		{"as it should be", rsaOf(p, q, 65537), nil},
		{"primes swapped", rsaOf(q, p, 65537), nil},
		{"primes of 900 and 1148 bits", rsaOf(prime(t, 900), prime(t, 1149), 65537), nil},
		{"a private exponent enlarged by a multiple of the order", enlarged(rsaOf(p, q, 65537), p, q, 1), nil},
		{"a private exponent enlarged a lot", enlarged(rsaOf(p, q, 65537), p, q, 1<<60), nil},
		{"an exponent of 31 bits", rsaOf(p, q, 2147483647), nil},
		{"an exponent of 32 bits", rsaOf(p, q, 4294967291), ErrUnsupported},
		{"an exponent of 0", rsaOf(p, q, 0), ErrDamaged},
		{"an exponent of 1", rsaOf(p, q, 1), ErrDamaged},
		{"an even exponent", rsaOf(p, q, 65536), ErrDamaged},
		{"one prime twice", rsaOf(p, p, 65537), ErrMismatch},
		{"a prime made of two", rsaOf(p, mul(a, b), 65537), ErrMismatch},
		{"an even prime", rsaOf(even, q, 65537), ErrDamaged},
		{"two even primes", rsaOf(even, even, 65537), ErrDamaged},
		{"a prime of 3", rsaOf(three, prime(t, 2047), 65537), ErrDamaged},
		{"a modulus of 2046 bits", rsaOf(prime(t, 1023), prime(t, 1023), 65537), ErrUnsupported},
		{"a modulus of 8200 bits", keypair.RSANumbers{N: make8(8200), E: []byte{3}, D: []byte{3}, P: make8(4100), Q: make8(4100)}, ErrUnsupported},
		{"no numbers at all", keypair.RSANumbers{}, ErrDamaged},
		{"no primes", keypair.RSANumbers{N: make8(2048), E: []byte{3}, D: []byte{3}}, ErrDamaged},
		{"no private exponent", keypair.RSANumbers{N: make8(2048), E: []byte{3}, P: make8(1024), Q: make8(1024)}, ErrDamaged},
		{"primes longer than the modulus", keypair.RSANumbers{N: make8(2048), E: []byte{3}, D: []byte{3}, P: make8(2048), Q: make8(2048)}, ErrMismatch},
		{"a private exponent longer than the modulus", keypair.RSANumbers{N: make8(2048), E: []byte{3}, D: make8(4096), P: make8(1024), Q: make8(1024)}, ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := newRSA(c.k)
			if c.want != nil {
				if k != nil || !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			r := wire.NewReader(k.Encoding())
			r.String()
			var f [6]*big.Int // n, e, d, iqmp, p, q
			for i := range f {
				f[i] = new(big.Int).SetBytes(r.Mpint())
			}
			if r.End() != nil {
				t.Fatal(r.Err())
			}
			if one := mul(f[3], f[5]); one.Mod(one, f[4]).Cmp(big.NewInt(1)) != 0 {
				t.Error("iqmp·q is not 1 modulo p")
			}
			if f[2].Cmp(f[0]) >= 0 {
				t.Error("d is above n")
			}
		})
	}
}

// make8 returns an odd number of that many bits, a multiple of 4.
func make8(bits int) []byte {
	b := make([]byte, (bits+7)/8)
	b[0] = 0xff >> (8*len(b) - bits)
	b[len(b)-1] |= 1
	return b
}
