package keypair

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"math/big"
	"testing"

	"vigil/internal/guard"
)

func newSlab(t *testing.T) *guard.Slab {
	t.Helper()
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if u := slab.Usage(); u.Used != 0 {
			t.Errorf("%d guarded bytes stay", u.Used)
		}
		_ = slab.Close()
	})
	return slab
}

// prime returns a prime of which 65537 can be the exponent.
func prime(t *testing.T, bits int) *big.Int {
	t.Helper()
	for {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if new(big.Int).Mod(p, big.NewInt(65537)).Int64() != 1 {
			return p
		}
	}
}

func TestRSAComputesWhatSigns(t *testing.T) {
	one := big.NewInt(1)
	p, q := prime(t, 1024), prime(t, 1024)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	phi := new(big.Int).Mul(p1, q1)
	e := big.NewInt(65537)
	d := new(big.Int).ModInverse(e, phi)
	qInv := new(big.Int).ModInverse(q, p)
	good := RSANumbers{N: new(big.Int).Mul(p, q).Bytes(), E: e.Bytes(), D: d.Bytes(), P: p.Bytes(), Q: q.Bytes(), QInv: qInv.Bytes()}
	for _, c := range []struct {
		name string
		with func(*RSANumbers)
	}{
		{"as it should be", func(*RSANumbers) {}},
		{"no inverse", func(k *RSANumbers) { k.QInv = nil }},
		{"a wrong inverse", func(k *RSANumbers) { k.QInv = []byte{5} }},
		{"an inverse that is longer than p", func(k *RSANumbers) { k.QInv = k.N }},
		{"leading zeros", func(k *RSANumbers) {
			for _, m := range []*[]byte{&k.N, &k.E, &k.D, &k.P, &k.Q, &k.QInv} {
				*m = append(make([]byte, 2), *m...)
			}
		}},
		{"d enlarged by φ(n)", func(k *RSANumbers) { k.D = new(big.Int).Add(d, phi).Bytes() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := good
			c.with(&k)
			r, err := NewRSA(newSlab(t), k)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Free()
			v := r.Values()
			for _, x := range []struct {
				name string
				got  []byte
				want *big.Int
			}{
				{"p", v.P, p},
				{"q", v.Q, q},
				{"dP", v.DP, new(big.Int).Mod(d, p1)},
				{"dQ", v.DQ, new(big.Int).Mod(d, q1)},
				{"qInv", v.QInv, qInv},
			} {
				if new(big.Int).SetBytes(x.got).Cmp(x.want) != 0 {
					t.Errorf("%s is wrong", x.name)
				}
			}
			if !r.Works() {
				t.Error("doesn't work")
			}
		})
	}
}

// TestWorksFindsPrimesThatAreNone makes a key whose numbers pass every check, as d
// inverts e modulo p−1, but whose p is no prime.
func TestWorksFindsPrimesThatAreNone(t *testing.T) {
	one, e := big.NewInt(1), big.NewInt(65537)
	q := prime(t, 1024)
	for {
		p := new(big.Int).Mul(prime(t, 512), prime(t, 512))
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(p1, q1))
		n := new(big.Int).Mul(p, q)
		if d == nil || n.BitLen() < MinRSABits {
			continue
		}
		qInv := new(big.Int).ModInverse(q, p)
		r, err := NewRSA(newSlab(t), RSANumbers{N: n.Bytes(), E: e.Bytes(), D: d.Bytes(), P: p.Bytes(), Q: q.Bytes(), QInv: qInv.Bytes()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Free()
		if r.Works() {
			t.Error("it works")
		}
		return
	}
}

func TestECDSA(t *testing.T) {
	for i, library := range []ecdh.Curve{ecdh.P256(), ecdh.P384(), ecdh.P521()} {
		c := Curves[i]
		private, err := library.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		scalar, point := private.Bytes(), private.PublicKey().Bytes()
		order := c.Order().Nat().Bytes(c.Order())
		for _, x := range []struct {
			name          string
			scalar, point []byte
			want          error
		}{
			{"both halves", scalar, point, nil},
			{"no public half", scalar, nil, nil},
			{"leading zeros", append(make([]byte, 9), scalar...), point, nil},
			{"zero", make([]byte, c.Size), nil, ErrMalformed},
			{"nothing", nil, nil, ErrMalformed},
			{"the order", order, nil, ErrMalformed},
			{"longer than the order", append([]byte{1}, order...), nil, ErrMalformed},
			{"another point", scalar, append(bytes.Clone(point[:len(point)-1]), point[len(point)-1]^1), ErrMismatch},
			{"an empty point", scalar, []byte{}, ErrMismatch},
		} {
			t.Run(c.Name+" "+x.name, func(t *testing.T) {
				k, err := NewECDSA(newSlab(t), c, x.scalar, x.point)
				if !errors.Is(err, x.want) {
					t.Fatalf("got %v, want %v", err, x.want)
				}
				if x.want != nil {
					return
				}
				defer k.Free()
				if !bytes.Equal(k.Point, point) || !bytes.Equal(k.Scalar.Bytes(), scalar) {
					t.Error("another key")
				}
			})
		}
	}
}

func TestEd25519(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seed := private.Seed()
	for _, c := range []struct {
		name         string
		seed, public []byte
		want         error
	}{
		{"both halves", seed, public, nil},
		{"no public half", seed, nil, nil},
		{"another public half", seed, make([]byte, 32), ErrMismatch},
		{"a short seed", seed[:31], public, ErrMalformed},
		{"an empty public half", seed, []byte{}, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := NewEd25519(newSlab(t), c.seed, c.public)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			defer k.Free()
			if !bytes.Equal(k.Public[:], public) {
				t.Error("another key")
			}
		})
	}
}
