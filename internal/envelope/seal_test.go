package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
)

// TestSealIsWhatTheFormatSays computes a seal from the document alone: HKDF by
// hand, AES-256-GCM, and nothing of this package.
func TestSealIsWhatTheFormatSays(t *testing.T) {
	key, c, plaintext := bytes.Repeat([]byte{7}, 32), NewContext("vigil v1 test", []byte("id"), Uint(3)), []byte("plaintext")
	if got := hex.EncodeToString(c); got != "0000000d766967696c20763120746573740000000269640000000800000000"+"00000003" {
		t.Fatalf("context is %s", got)
	}
	sealed, err := Seal(key, c, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	prk := mac(sealed[:32], key)
	encryption := mac(prk, c, []byte{1})
	commitment := mac(prk, encryption, c, []byte{2})
	if !bytes.Equal(sealed[32:64], commitment) {
		t.Fatal("another commitment")
	}
	block, err := aes.NewCipher(encryption)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if want := gcm.Seal(nil, make([]byte, 12), plaintext, c); !bytes.Equal(sealed[64:], want) {
		t.Fatal("another ciphertext")
	}
}

func TestOpenRefuses(t *testing.T) {
	key, c, plaintext := bytes.Repeat([]byte{7}, 32), NewContext("vigil v1 test"), []byte("plaintext")
	sealed, err := Seal(key, c, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, len(plaintext))
	if err := Open(dst, key, c, sealed); err != nil || !bytes.Equal(dst, plaintext) {
		t.Fatalf("opened %q, %v", dst, err)
	}
	other := bytes.Repeat([]byte{8}, 32)
	for name, tt := range map[string]struct {
		dst, key []byte
		c        Context
		sealed   []byte
		want     error
	}{
		"another key":       {dst, other, c, sealed, ErrWrongKey},
		"another context":   {dst, key, NewContext("vigil v1 toast"), sealed, ErrWrongKey},
		"one field more":    {dst, key, NewContext("vigil v1 test", nil), sealed, ErrWrongKey},
		"cut":               {dst[1:], key, c, sealed[:len(sealed)-1], ErrDamaged},
		"shorter than none": {nil, key, c, sealed[:Overhead-1], ErrSize},
		"small buffer":      {dst[1:], key, c, sealed, ErrSize},
		"short key":         {dst, key[1:], c, sealed, ErrSize},
	} {
		t.Run(name, func(t *testing.T) {
			copy(dst, plaintext)
			if err := Open(tt.dst, tt.key, tt.c, tt.sealed); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if !bytes.Equal(tt.dst, make([]byte, len(tt.dst))) {
				t.Fatal("plaintext was left behind")
			}
		})
	}
}

func TestEverySealIsNew(t *testing.T) {
	key, c := bytes.Repeat([]byte{7}, 32), NewContext("vigil v1 test")
	a, _ := Seal(key, c, []byte("same"))
	b, _ := Seal(key, c, []byte("same"))
	if bytes.Equal(a[:32], b[:32]) || bytes.Equal(a[64:], b[64:]) {
		t.Fatal("two seals of the same are alike")
	}
}

func TestContextsCannotBeConfused(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []Context{
		NewContext("ab"), NewContext("a", []byte("b")), NewContext("", []byte("ab")),
		NewContext("a", []byte("b"), nil), NewContext("a", nil, []byte("b")),
	} {
		if seen[string(c)] {
			t.Fatalf("%x twice", []byte(c))
		}
		seen[string(c)] = true
	}
}

func TestPaddedSizes(t *testing.T) {
	for _, tt := range []struct{ n, meta, secret int }{
		{0, 512, 512}, {511, 512, 512}, {512, 1024, 1024}, {1023, 1024, 1024}, {1024, 1536, 2048}, {2048, 2560, 4096},
	} {
		if MetaSize(tt.n) != tt.meta || SecretSize(tt.n) != tt.secret {
			t.Errorf("%d bytes: meta %d, secret %d, want %d and %d", tt.n, MetaSize(tt.n), SecretSize(tt.n), tt.meta, tt.secret)
		}
	}
	key := make([]byte, 32)
	for _, n := range []int{0, 1, 511, 512, 1500, MaxSecret - 1} {
		secret := make([]byte, n)
		rand.Read(secret)
		sealed, err := SealSecret(key, Binding{}, secret)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, OpenSize(sealed))
		got, err := OpenSecret(dst, key, Binding{}, sealed)
		if err != nil || !bytes.Equal(dst[:got], secret) {
			t.Fatalf("%d bytes: opened %d, %v", n, got, err)
		}
		if !bytes.Equal(dst[got:], make([]byte, len(dst)-got)) {
			t.Fatal("padding was left behind")
		}
	}
	if _, err := SealSecret(key, Binding{}, make([]byte, MaxSecret)); !errors.Is(err, ErrSize) {
		t.Fatalf("too large: %v", err)
	}
	if _, err := SealMeta(key, Binding{}, make([]byte, MaxMeta)); !errors.Is(err, ErrSize) {
		t.Fatalf("too large: %v", err)
	}
}

func TestHalvesDontPrint(t *testing.T) {
	h, err := NewHalves([16]byte{}, bytes.Repeat([]byte{'S'}, HalvesSize))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got := fmt.Sprintf(verb, h); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func BenchmarkRewrap(b *testing.B) {
	kek, dek := make([]byte, 32), make([]byte, 32)
	for b.Loop() {
		var e keyring.DEK
		if err := WrapDEK(&e, kek, dek, id.Vault{}, 1); err != nil {
			b.Fatal(err)
		}
		if err := UnwrapDEK(dek, &e, kek, id.Vault{}, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// TestContextsStayShort: some HKDFs take at most 1,024 bytes of info.
func TestContextsStayShort(t *testing.T) {
	largest := Binding{Parents: make([]id.Revision, keyring.MaxParents)}
	k := keyring.DefaultKDF([16]byte{})
	for name, c := range map[string]Context{
		"secret": largest.context(labelSecret),
		"halves": halvesContext(id.Vault{}, id.Identity{}, &keyring.Public{}),
		"unlock": unlockContext(id.Vault{}, id.Identity{}, k),
		"kek":    kekContext(id.Vault{}, id.Identity{}, 1),
		"dek":    dekContext(id.Vault{}, id.Item{}, id.Revision{}, 1),
		"waits":  waitingContext(id.Vault{}, id.Identity{}, &keyring.DEK{Parents: make([]id.Revision, keyring.MaxParents)}),
	} {
		if len(c) >= 1024 {
			t.Errorf("context of %s has %d bytes", name, len(c))
		}
	}
}
