package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

func TestParseReturnsWhatFollows(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		k, rest, err := Parse(slab, append(bytes.Clone(s.encoded), "comment"...))
		if err != nil {
			t.Fatal(err)
		}
		if string(rest) != "comment" {
			t.Fatalf("%s: rest %q", s.name, rest)
		}
		k.Free()
	}
}

// refuse checks that an encoding is refused, and that nothing of it stays.
func refuse(t *testing.T, slab *guard.Slab, encoded []byte, want error) {
	t.Helper()
	k, _, err := Parse(slab, encoded)
	if !errors.Is(err, want) || k != nil {
		t.Errorf("got %v, want %v", err, want)
	}
	if u := slab.Usage(); u.Used != 0 {
		t.Errorf("%d guarded bytes stay", u.Used)
	}
}

func TestTruncatedAtEveryByte(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		step := 1
		if len(s.encoded) > 1000 {
			step = 3
		}
		for n := 0; n < len(s.encoded); n += step {
			refuse(t, slab, s.encoded[:n], ErrMalformed)
			if t.Failed() {
				t.Fatalf("%s cut to %d of %d bytes", s.name, n, len(s.encoded))
			}
		}
	}
}

func TestEveryFlippedByteIsRefusedOrHarmless(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		if strings.HasPrefix(s.name, "rsa3") || strings.HasPrefix(s.name, "rsa4") {
			continue // as rsa2048, but slow
		}
		for i := 0; i < len(s.encoded); i += 1 + len(s.encoded)/300 {
			bent := bytes.Clone(s.encoded)
			bent[i] ^= 0x10
			k, _, err := Parse(slab, bent)
			if err != nil {
				continue
			}
			// What is accepted must be a different public key that signs for itself
			// or, in a certificate, a changed field that isn't the key. RSA's inverse
			// of q is computed again.
			if bytes.Equal(k.Public(), s.public) && !inInverse(s.encoded, i) {
				t.Errorf("%s: byte %d is not looked at", s.name, i)
			}
			sig, err := k.Sign([]byte("data"), FlagSHA256)
			if err != nil || verify(t, k.PlainPublic(), []byte("data"), sig) != nil {
				t.Errorf("%s: byte %d makes a key that doesn't sign for itself: %v", s.name, i, err)
			}
			k.Free()
		}
	}
}

// inInverse reports whether byte i of an encoding is in the value of RSA's inverse of q.
func inInverse(encoded []byte, i int) bool {
	r := wire.NewReader(encoded)
	switch string(r.String()) {
	case typeRSA:
		r.Mpint() // n
		r.Mpint() // e
	case certRSA:
		r.String()
	default:
		return false
	}
	r.Mpint() // d
	from := len(encoded) - r.Len() + 4
	return from <= i && i < from+len(r.Mpint())
}

func TestUnknownTypesAreUnsupported(t *testing.T) {
	slab := newSlab(t)
	for _, name := range []string{
		"", "ssh-dss", "ssh-ed448", "sk-ssh-ed448@openssh.com", "sk-ecdsa-sha2-nistp384@openssh.com",
		"sk-ssh-ed448-cert-v01@openssh.com", "rsa-sha2-256", "ecdsa-sha2-nistp192", strings.Repeat("x", 10_000),
	} {
		encoded := append(wire.AppendString(nil, name), make([]byte, 500)...)
		refuse(t, slab, encoded, ErrUnsupported)
		if _, _, err := Parse(slab, encoded); len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestMismatchedHalvesAreRefused(t *testing.T) {
	slab := newSlab(t)
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := func(pub, sec []byte) []byte {
		return wire.AppendString(wire.AppendString(wire.AppendString(nil, typeEd25519), pub), sec)
	}
	t.Run("Ed25519, another public key twice", func(t *testing.T) {
		refuse(t, slab, ed(other, append(bytes.Clone(priv[:32]), other...)), ErrMismatch)
	})
	t.Run("Ed25519, another public key first", func(t *testing.T) {
		refuse(t, slab, ed(other, priv), ErrMismatch)
	})
	t.Run("Ed25519, another public key behind the seed", func(t *testing.T) {
		refuse(t, slab, ed(pub, append(bytes.Clone(priv[:32]), other...)), ErrMismatch)
	})
	a, b := ecdsaKeyOf(t, elliptic.P256()), ecdsaKeyOf(t, elliptic.P256())
	d, err := a.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p256 := func(pub *ecdsa.PublicKey, d []byte) []byte {
		point, err := pub.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		e := wire.AppendString(wire.AppendString(nil, "ecdsa-sha2-nistp256"), "nistp256")
		return wire.AppendMpint(wire.AppendString(e, point), d)
	}
	if !bytes.Equal(p256(&a.PublicKey, d), encode(t, a, nil)) {
		t.Fatal("this test encodes ECDSA keys wrong")
	}
	order := elliptic.P256().Params().N
	t.Run("ECDSA, another point", func(t *testing.T) {
		refuse(t, slab, p256(&b.PublicKey, d), ErrMismatch)
	})
	t.Run("ECDSA, scalar zero", func(t *testing.T) {
		refuse(t, slab, p256(&a.PublicKey, nil), ErrMalformed)
	})
	t.Run("ECDSA, the order as scalar", func(t *testing.T) {
		refuse(t, slab, p256(&a.PublicKey, order.Bytes()), ErrMalformed)
	})
	t.Run("ECDSA, scalar plus order", func(t *testing.T) {
		sum := new(big.Int).Add(new(big.Int).SetBytes(d), order)
		refuse(t, slab, p256(&a.PublicKey, sum.Bytes()), ErrMalformed)
	})
	t.Run("ECDSA, compressed point", func(t *testing.T) {
		point, err := a.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		e := wire.AppendString(wire.AppendString(nil, "ecdsa-sha2-nistp256"), "nistp256")
		short := append([]byte{2 | point[64]&1}, point[1:33]...)
		refuse(t, slab, wire.AppendMpint(wire.AppendString(e, short), d), ErrMismatch)
	})
	t.Run("ECDSA, another curve's name", func(t *testing.T) {
		e := bytes.Replace(encode(t, a, nil), []byte("ecdsa-sha2-nistp256"), []byte("ecdsa-sha2-nistp384"), 1)
		refuse(t, slab, e, ErrMalformed)
	})
	composite := mldsaSamples(t)
	strange := mldsaSamples(t)
	t.Run("ML-DSA, another public key", func(t *testing.T) {
		e := append(bytes.Clone(strange[0].plain), composite[0].encoded[len(composite[0].plain):]...)
		refuse(t, slab, e, ErrMismatch)
	})
	t.Run("ML-DSA, certificate of another key", func(t *testing.T) {
		e := append(wire.AppendString(wire.AppendString(nil, certMLDSA), strange[1].public),
			composite[0].encoded[len(composite[0].plain):]...)
		refuse(t, slab, e, ErrMismatch)
	})
}

func TestMismatchedRSAIsRefused(t *testing.T) {
	slab := newSlab(t)
	key, other := readRSA(t, "rsa2048.pem"), readRSA(t, "rsa3072.pem")
	one := big.NewInt(1)
	plus := func(x *big.Int) *big.Int { return new(big.Int).Add(x, big.NewInt(2)) }
	p, q, qInv := key.Primes[0], key.Primes[1], key.Precomputed.Qinv
	e := big.NewInt(int64(key.E))
	rsaOf := func(n, e, d, qInv, p, q *big.Int) []byte {
		b := wire.AppendString(nil, typeRSA)
		for _, v := range []*big.Int{n, e, d, qInv, p, q} {
			b = wire.AppendMpint(b, v.Bytes())
		}
		return b
	}
	for _, c := range []struct {
		name    string
		encoded []byte
		want    error
	}{
		{"d", rsaOf(key.N, e, plus(key.D), qInv, p, q), ErrMismatch},
		{"e", rsaOf(key.N, big.NewInt(3), key.D, qInv, p, q), ErrMismatch},
		{"n", rsaOf(plus(key.N), e, key.D, qInv, p, q), ErrMismatch},
		{"the n of another size", rsaOf(other.N, e, key.D, qInv, p, q), ErrMismatch},
		{"p", rsaOf(key.N, e, key.D, qInv, plus(p), q), ErrMismatch},
		{"q", rsaOf(key.N, e, key.D, qInv, p, plus(q)), ErrMismatch},
		{"p of one", rsaOf(key.N, e, key.D, qInv, one, key.N), ErrMalformed},
		{"p of zero", rsaOf(key.N, e, key.D, qInv, new(big.Int), q), ErrMalformed},
		{"an even p", rsaOf(key.N, e, key.D, qInv, new(big.Int).Sub(p, one), q), ErrMismatch},
		{"d of zero", rsaOf(key.N, e, new(big.Int), qInv, p, q), ErrMalformed},
		{"d of 16385 bits", rsaOf(key.N, e, new(big.Int).Lsh(one, 16384), qInv, p, q), ErrMalformed},
		{"e of one", rsaOf(key.N, one, key.D, qInv, p, q), ErrMalformed},
		{"an even e", rsaOf(key.N, big.NewInt(4), key.D, qInv, p, q), ErrMalformed},
		{"e of zero", rsaOf(key.N, new(big.Int), key.D, qInv, p, q), ErrMalformed},
		{"e of 33 bits", rsaOf(key.N, big.NewInt(1<<32+1), key.D, qInv, p, q), ErrUnsupported},
		{"an even n", rsaOf(new(big.Int).Sub(key.N, one), e, key.D, qInv, p, q), ErrMalformed},
		{"n of zero", rsaOf(new(big.Int), e, key.D, qInv, p, q), ErrMalformed},
		{"n of 2047 bits", rsaOf(new(big.Int).Rsh(key.N, 1), e, key.D, qInv, p, q), ErrUnsupported},
		{"n of 8193 bits", rsaOf(new(big.Int).Lsh(one, 8192), e, key.D, qInv, p, q), ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) { refuse(t, slab, c.encoded, c.want) })
	}
}

// TestRSAFromOtherTools gives Parse keys as programs other than ssh-add write them.
func TestRSAFromOtherTools(t *testing.T) {
	slab := newSlab(t)
	key := readRSA(t, "rsa2048.pem")
	one, e := big.NewInt(1), big.NewInt(int64(key.E))
	p, q, qInv := key.Primes[0], key.Primes[1], key.Precomputed.Qinv
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	enlarged := func(times int64) *big.Int {
		return new(big.Int).Add(key.D, new(big.Int).Mul(phi, big.NewInt(times)))
	}
	for _, c := range []struct {
		name          string
		d, qInv, p, q *big.Int
	}{
		{"p and q swapped with their own qInv", key.D, new(big.Int).ModInverse(p, q), q, p},
		{"p and q swapped, but not qInv", key.D, qInv, q, p},
		{"no qInv", key.D, new(big.Int), p, q},
		{"another qInv", key.D, new(big.Int).Add(qInv, one), p, q},
		{"a qInv longer than p", key.D, new(big.Int).Add(qInv, key.N), p, q},
		{"d modulo the product instead of the least multiple", new(big.Int).ModInverse(e, phi), qInv, p, q},
		{"d enlarged by the product", enlarged(1), qInv, p, q},
		{"d enlarged by many products", enlarged(1 << 40), qInv, p, q},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := wire.AppendString(nil, typeRSA)
			for _, v := range []*big.Int{key.N, e, c.d, c.qInv, c.p, c.q} {
				b = wire.AppendMpint(b, v.Bytes())
			}
			k := parse(t, slab, b)
			for _, spare := range []bool{false, true} {
				sig, err := k.AppendSign(nil, []byte("data"), FlagSHA256, spare)
				if err != nil || verify(t, k.PlainPublic(), []byte("data"), sig) != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestNeedlessZeros puts leading zeros before every integer of a key, as programs that
// write integers at a fixed width do.
func TestNeedlessZeros(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		integers := map[string]int{typeRSA: 6, certRSA: 4, "ecdsa-sha2-nistp256": 1, "ecdsa-sha2-nistp384": 1, "ecdsa-sha2-nistp521": 1}
		r := wire.NewReader(s.encoded)
		count := integers[string(r.String())]
		if count == 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			tail := wire.NewReader(s.encoded)
			fields := 0
			for ; tail.Len() > 0; fields++ {
				tail.String()
			}
			r := wire.NewReader(s.encoded)
			var padded []byte
			for i := range fields {
				b := r.String()
				if i >= fields-count {
					b = append(make([]byte, 3), b...)
				}
				padded = wire.AppendString(padded, b)
			}
			k := parse(t, slab, padded)
			if !bytes.Equal(k.Public(), s.public) {
				t.Error("the public half isn't in its shortest form")
			}
			sig, err := k.Sign([]byte("data"), FlagSHA256)
			if err != nil || verify(t, k.PlainPublic(), []byte("data"), sig) != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestReasonsForRefusals holds the words that `vigilctl why` shows.
func TestReasonsForRefusals(t *testing.T) {
	slab := newSlab(t)
	key := readRSA(t, "rsa2048.pem")
	one := big.NewInt(1)
	rsaOf := func(n, e, d []byte) []byte {
		b := wire.AppendString(nil, typeRSA)
		for _, v := range [][]byte{n, e, d, nil, key.Primes[0].Bytes(), key.Primes[1].Bytes()} {
			b = wire.AppendMpint(b, v)
		}
		return b
	}
	e := []byte{1, 0, 1}
	negative := wire.AppendMpint(wire.AppendMpint(wire.AppendString(nil, typeRSA), key.N.Bytes()), e)
	negative = wire.AppendString(negative, "\x80")
	for _, c := range []struct {
		name    string
		encoded []byte
		want    string
	}{
		{"a short modulus", rsaOf(new(big.Int).Rsh(key.N, 1024).Bytes(), e, key.D.Bytes()), "RSA of 1024 bits is not supported: too short to be safe; 2048 is the least"},
		{"a modulus a bit too short", rsaOf(new(big.Int).Rsh(key.N, 1).Bytes(), e, key.D.Bytes()), "RSA of 2047 bits is not supported: too short to be safe; 2048 is the least"},
		{"a long modulus", rsaOf(new(big.Int).Lsh(one, 16383).Bytes(), e, key.D.Bytes()), "RSA of 16384 bits is not supported: 8192 is the most"},
		{"a large exponent", rsaOf(key.N.Bytes(), []byte{1, 0, 0, 0, 1}, key.D.Bytes()), "RSA with a public exponent of 2^31 or more is not supported: no SSH tool makes one"},
		{"no modulus", rsaOf(nil, e, key.D.Bytes()), "key is malformed: the RSA modulus is missing"},
		{"a negative integer", negative, "key is malformed: integer is negative"},
		{"DSA", wire.AppendString(nil, "ssh-dss"), `key type "ssh-dss" is not supported`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Parse(slab, c.encoded); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestUnequalPrimes(t *testing.T) {
	p, err := rand.Prime(rand.Reader, 1200)
	if err != nil {
		t.Fatal(err)
	}
	q, err := rand.Prime(rand.Reader, 900)
	if err != nil {
		t.Fatal(err)
	}
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	e := big.NewInt(65537)
	for _, primes := range [][]*big.Int{{p, q}, {q, p}} {
		key := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
			D:         new(big.Int).ModInverse(e, phi), Primes: primes,
		}
		if key.D == nil {
			t.Skip("e divides p-1 or q-1")
		}
		key.Precompute()
		k := parse(t, newSlab(t), encode(t, key, nil))
		for _, spare := range []bool{false, true} {
			sig, err := k.AppendSign(nil, []byte("data"), FlagSHA256, spare)
			if err != nil || verify(t, k.PlainPublic(), []byte("data"), sig) != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCertificateOfAnotherKeyIsRefused(t *testing.T) {
	slab := newSlab(t)
	all := samples(t)
	for i := 0; i+1 < len(all); i += 2 {
		plain, certified := all[i], all[i+1]
		if strings.HasPrefix(plain.name, "ML-DSA") || strings.HasPrefix(plain.name, "rsa") {
			continue // MLDSA: above; RSA: below, its order of n and e differs
		}
		pub, err := ssh.ParsePublicKey(plain.plain)
		if err != nil {
			t.Fatal(err)
		}
		var foreign ssh.PublicKey
		switch pub.Type() {
		case typeEd25519:
			foreign, err = ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
		default:
			own := pub.(ssh.CryptoPublicKey).CryptoPublicKey().(*ecdsa.PublicKey)
			foreign, err = ssh.NewPublicKey(ecdsaKeyOf(t, own.Curve).Public())
		}
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(certified.encoded)
		name := r.String()
		r.String()
		e := wire.AppendString(wire.AppendString(nil, name), certify(t, foreign).Marshal())
		refuse(t, slab, append(e, r.Rest()...), ErrMismatch)
	}
	k2048, k3072 := readRSA(t, "rsa2048.pem"), readRSA(t, "rsa3072.pem")
	foreign, err := ssh.NewPublicKey(k3072.Public())
	if err != nil {
		t.Fatal(err)
	}
	own, err := ssh.NewPublicKey(k2048.Public())
	if err != nil {
		t.Fatal(err)
	}
	e := bytes.Replace(encode(t, k2048, certify(t, own)), certify(t, own).Marshal(), nil, 1)
	r := wire.NewReader(e)
	name := r.String()
	r.String()
	refuse(t, slab, append(wire.AppendString(wire.AppendString(nil, name), certify(t, foreign).Marshal()), r.Rest()...), ErrMismatch)
}

func TestCertificateMustEndWhereItSays(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		if bytes.Equal(s.public, s.plain) {
			continue
		}
		r := wire.NewReader(s.encoded)
		name, cert := r.String(), r.String()
		for _, bent := range [][]byte{append(bytes.Clone(cert), 0), cert[:len(cert)-1]} {
			e := wire.AppendString(wire.AppendString(nil, name), bent)
			refuse(t, slab, append(e, r.Rest()...), ErrMalformed)
		}
		// A certificate of another type, and a plain key in its place.
		e := wire.AppendString(wire.AppendString(nil, name), s.plain)
		refuse(t, slab, append(e, r.Rest()...), ErrMismatch)
	}
}

func TestFullSlabRefusesTheKey(t *testing.T) {
	slab, err := guard.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := slab.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range samples(t) {
		if _, _, err := Parse(slab, s.encoded); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.encoded)
		f.Add(append(bytes.Clone(s.encoded), 0, 0, 0, 1, 'c', 1, 0, 0, 0, 9))
	}
	slab, err := guard.NewSlab(1 << 20)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		k, rest, err := Parse(slab, in)
		if !bytes.Equal(in, before) {
			t.Fatal("the input was changed")
		}
		if err == nil {
			if !bytes.HasSuffix(in, rest) {
				t.Fatal("rest is not the end of the input")
			}
			data := []byte("data")
			sig, err := k.Sign(data, FlagSHA512)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, k.PlainPublic(), data, sig); err != nil {
				t.Fatal(err)
			}
			k.Free()
		} else if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrMismatch) {
			t.Fatal(err)
		}
		if u := slab.Usage(); u.Used != 0 {
			t.Fatalf("%d guarded bytes stay", u.Used)
		}
	})
}
