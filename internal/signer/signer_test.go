package signer

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"sync"
	"testing"

	"filippo.io/mldsa"
	"golang.org/x/crypto/ssh"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

func parse(t testing.TB, slab *guard.Slab, encoded []byte) *Key {
	t.Helper()
	k, rest, err := Parse(slab, encoded)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes left", len(rest))
	}
	t.Cleanup(k.Free)
	return k
}

// verify checks a signature blob with code that isn't this package's.
func verify(t testing.TB, plain, data, blob []byte) error {
	t.Helper()
	r := wire.NewReader(blob)
	format, sig := string(r.String()), r.String()
	if err := r.End(); err != nil {
		return err
	}
	if format == typeMLDSA {
		return verifyComposite(plain, data, sig)
	}
	pub, err := ssh.ParsePublicKey(plain)
	if err != nil {
		return err
	}
	return pub.Verify(data, &ssh.Signature{Format: format, Blob: sig})
}

func verifyComposite(plain, data, sig []byte) error {
	r := wire.NewReader(plain)
	r.String()
	public := r.String()
	if len(public) != 1344 || len(sig) != 2484 {
		return fmt.Errorf("key of %d, signature of %d", len(public), len(sig))
	}
	h := sha512.Sum512(data)
	m := append([]byte("CompositeAlgorithmSignatures2025COMPSIG-MLDSA44-Ed25519-SHA512\x00"), h[:]...)
	if !ed25519.Verify(public[1312:], m, sig[2420:]) {
		return errors.New("the Ed25519 half does not verify")
	}
	pq, err := mldsa.NewPublicKey(mldsa.MLDSA44(), public[:1312])
	if err != nil {
		return err
	}
	return mldsa.Verify(pq, m, sig[:2420], &mldsa.Options{Context: "COMPSIG-MLDSA44-Ed25519-SHA512"})
}

func TestEveryTypeSignsAndVerifies(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			k := parse(t, slab, s.encoded)
			if !bytes.Equal(k.Public(), s.public) || !bytes.Equal(k.PlainPublic(), s.plain) {
				t.Fatalf("public\n%x\nwant\n%x", k.Public(), s.public)
			}
			r := wire.NewReader(s.public)
			if k.Type() != string(r.String()) {
				t.Fatal(k.Type())
			}
			for n := 0; n < 300; n += 37 {
				data := bytes.Repeat([]byte{byte(n)}, n)
				for _, flags := range []uint32{FlagSHA256, FlagSHA512} {
					for _, spare := range []bool{false, true} {
						sig, err := k.AppendSign(nil, data, flags, spare)
						if err != nil {
							t.Fatal(err)
						}
						if err := verify(t, s.plain, data, sig); err != nil {
							t.Fatal(err)
						}
						if err := verify(t, s.plain, append(data, 1), sig); err == nil {
							t.Fatal("verifies over other data")
						}
					}
				}
			}
		})
	}
	if u := slab.Usage(); u.Used != 0 {
		t.Fatalf("%d bytes still in use after Free", u.Used)
	}
}

func TestRSAFlagsChooseTheHash(t *testing.T) {
	key := readRSA(t, "rsa2048.pem")
	k := parse(t, newSlab(t), encode(t, key, nil))
	data := []byte("data")
	h1, h256, h512 := sha1.Sum(data), sha256.Sum256(data), sha512.Sum512(data)
	for _, c := range []struct {
		flags  uint32
		format string
		hash   crypto.Hash
		sum    []byte
	}{
		{2, "rsa-sha2-256", crypto.SHA256, h256[:]},
		{4, "rsa-sha2-512", crypto.SHA512, h512[:]},
		{6, "rsa-sha2-256", crypto.SHA256, h256[:]},
		{FlagSHA1, "ssh-rsa", crypto.SHA1, h1[:]},
		{FlagSHA1 | 2, "rsa-sha2-256", crypto.SHA256, h256[:]},
	} {
		want, err := rsa.SignPKCS1v15(nil, key, c.hash, c.sum)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Sign(data, c.flags)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, wire.AppendString(wire.AppendString(nil, c.format), want)) {
			t.Fatalf("flags %d: differs from crypto/rsa", c.flags)
		}
	}
	if _, err := k.Sign(data, 0); !errors.Is(err, ErrSHA1) {
		t.Fatalf("flags 0: %v", err)
	}
	for _, flags := range []uint32{1, 8, 10, 1 << 30} {
		if _, err := k.Sign(data, flags); !errors.Is(err, ErrFlags) {
			t.Fatalf("flags %d: %v", flags, err)
		}
	}
}

// TestEd25519Vectors holds the tests of RFC 8032 section 7.1.
func TestEd25519Vectors(t *testing.T) {
	slab := newSlab(t)
	for _, v := range []struct{ name, seed, public, message, signature string }{
		{
			"TEST 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		},
		{
			"TEST 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
		{
			"TEST 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		},
		{
			"TEST SHA(abc)", "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
			"ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
			"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
			"dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			seed, public, message := unhex(t, v.seed), unhex(t, v.public), unhex(t, v.message)
			encoded := wire.AppendString(wire.AppendString(nil, typeEd25519), public)
			encoded = wire.AppendString(encoded, append(seed, public...))
			sig, err := parse(t, slab, encoded).Sign(message, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := wire.AppendString(wire.AppendString(nil, typeEd25519), unhex(t, v.signature))
			if !bytes.Equal(sig, want) {
				t.Fatalf("signature %x", sig)
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEd25519EqualsTheLibrary(t *testing.T) {
	slab := newSlab(t)
	for n := range 500 {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, n*7%1500)
		if _, err := rand.Read(data); err != nil {
			t.Fatal(err)
		}
		encoded := wire.AppendString(wire.AppendString(wire.AppendString(nil, typeEd25519), pub), priv)
		k := parse(t, slab, encoded)
		got, err := k.Sign(data, 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := ed25519.Sign(priv, data); !bytes.Equal(got[len(got)-64:], want) {
			t.Fatalf("%d bytes: %x, want %x", len(data), got, want)
		}
	}
}

// Sign is AppendSign to nothing, with no core to spare.
func (k *Key) Sign(data []byte, flags uint32) ([]byte, error) {
	return k.AppendSign(nil, data, flags, false)
}

func TestCurvesAllocateOnlyTheirReply(t *testing.T) {
	if raceBuild {
		t.Skip("the race detector allocates, too")
	}
	for _, s := range samples(t)[:8] { // Ed25519 and ECDSA
		k := parse(t, newSlab(t), s.encoded)
		data, dst := make([]byte, 200), make([]byte, 0, 300)
		// The count is the whole process's: the least of a few runs is the signer's.
		least := math.Inf(1)
		for range 5 {
			least = min(least, testing.AllocsPerRun(100, func() {
				if _, err := k.AppendSign(dst, data, 0, false); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if least != 0 {
			t.Errorf("%s: %v allocations", s.name, least)
		}
	}
}

// TestECDSANoncesDiffer also makes enough signatures that some have leading zeros.
func TestECDSANoncesDiffer(t *testing.T) {
	slab := newSlab(t)
	for curve, n := range map[elliptic.Curve]int{elliptic.P256(): 600, elliptic.P384(): 300, elliptic.P521(): 100} {
		key := ecdsaKeyOf(t, curve)
		k := parse(t, slab, encode(t, key, nil))
		seen := map[string]bool{}
		for i := range n {
			data := []byte{byte(i), byte(i >> 8)}
			if i%2 == 0 {
				data = []byte("the same")
			}
			sig, err := k.Sign(data, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, k.PlainPublic(), data, sig); err != nil {
				t.Fatal(err)
			}
			r, _ := splitECDSA(sig)
			if seen[r.String()] {
				t.Fatalf("%s: a nonce came twice", curve.Params().Name)
			}
			seen[r.String()] = true
		}
	}
}

func TestAppendSignAppends(t *testing.T) {
	slab := newSlab(t) // one for all: the usual lock limit holds no eight of them
	for _, s := range samples(t) {
		k := parse(t, slab, s.encoded)
		out, err := k.AppendSign([]byte("before"), []byte("data"), FlagSHA512, false)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(out, []byte("before")) || verify(t, s.plain, []byte("data"), out[6:]) != nil {
			t.Fatalf("%s: %x", s.name, out)
		}
	}
}

func TestFreeUnderSignatures(t *testing.T) {
	slab := newSlab(t)
	for _, s := range samples(t) {
		k := parse(t, slab, s.encoded)
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					sig, err := k.Sign([]byte("data"), FlagSHA256)
					if errors.Is(err, ErrFreed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if i == 0 {
						started <- struct{}{}
					}
					if err := verify(t, s.plain, []byte("data"), sig); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		k.Free()
		k.Free()
		wg.Wait()
	}
	(*Key)(nil).Free()
	if u := slab.Usage(); u.Used != 0 {
		t.Fatalf("%d bytes in use", u.Used)
	}
}

func TestFaultySignatureIsWithheld(t *testing.T) {
	k := parse(t, newSlab(t), encode(t, readRSA(t, "rsa2048.pem"), nil))
	v := k.priv.(*rsaKey).Values()
	for name, part := range map[string][]byte{"p": v.P, "dP": v.DP, "qInv": v.QInv, "q": v.Q, "dQ": v.DQ} {
		part[len(part)-2] ^= 4
		for _, spare := range []bool{false, true} {
			if sig, err := k.AppendSign(nil, []byte("data"), FlagSHA256, spare); !errors.Is(err, ErrFault) || sig != nil {
				t.Errorf("a flipped bit in %s: %v", name, err)
			}
		}
		part[len(part)-2] ^= 4
	}
	if _, err := k.Sign([]byte("data"), FlagSHA256); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSign(b *testing.B) {
	slab := newSlab(b)
	data := make([]byte, 300)
	for _, s := range samples(b) {
		k := parse(b, slab, s.encoded)
		if !bytes.Equal(s.public, s.plain) {
			continue
		}
		for _, spare := range []bool{false, true} {
			if spare && k.Type() != typeRSA {
				continue
			}
			b.Run(fmt.Sprintf("%s/spare=%t", s.name, spare), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]byte, 0, 4096)
				for b.Loop() {
					if _, err := k.AppendSign(dst, data, FlagSHA256, spare); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	slab := newSlab(b)
	for _, s := range samples(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k, _, err := Parse(slab, s.encoded)
				if err != nil {
					b.Fatal(err)
				}
				k.Free()
			}
		})
	}
}

// splitECDSA returns r and s of a signature blob.
func splitECDSA(sig []byte) (r, s *big.Int) {
	outer := wire.NewReader(sig)
	outer.String()
	inner := wire.NewReader(outer.String())
	return new(big.Int).SetBytes(inner.Mpint()), new(big.Int).SetBytes(inner.Mpint())
}
