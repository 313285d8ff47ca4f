package passphrase

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"vigil/internal/keyring"
)

// cheapest is the least that the limits allow; it takes 0.2 s.
func cheapest() keyring.KDF {
	return keyring.KDF{Name: keyring.KDFName, Memory: keyring.MinKDFMemory, Time: keyring.MinKDFTime, Lanes: 4, Salt: [16]byte{1, 2, 3}}
}

func TestTrimLineEnd(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a": "a", "a\n": "a", "a\r\n": "a", "a\n\n": "a\n", "a\r": "a\r", "\n": "", " a \n": " a ",
	} {
		if got := TrimLineEnd([]byte(in)); string(got) != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestOnePassphraseHoweverItIsTyped(t *testing.T) {
	var d Deriver
	derive := func(p string) []byte {
		t.Helper()
		key := make([]byte, KeySize)
		if err := d.Derive(key, []byte(p), cheapest()); err != nil {
			t.Fatal(err)
		}
		return key
	}
	composed, decomposed := derive("K\u00e4se \u212b"), derive("Ka\u0308se A\u030a")
	if !bytes.Equal(composed, decomposed) {
		t.Fatal("NFC and NFD give different keys")
	}
	k := cheapest()
	want := argon2.IDKey([]byte("K\u00e4se \u00c5"), k.Salt[:], k.Time, k.Memory, k.Lanes, KeySize)
	if !bytes.Equal(composed, want) {
		t.Fatalf("key is not Argon2id of the NFC form: %s", hex.EncodeToString(composed))
	}
	if bytes.Equal(composed, derive("K\u00e4se \u00c5 ")) {
		t.Fatal("another passphrase gives the same key")
	}
}

func TestRefused(t *testing.T) {
	change := func(f func(*keyring.KDF)) keyring.KDF { k := cheapest(); f(&k); return k }
	tests := []struct {
		name       string
		passphrase string
		kdf        keyring.KDF
		want       error // nil: any
	}{
		{"empty", "", cheapest(), ErrEmpty},
		{"too long", strings.Repeat("a", MaxSize+1), cheapest(), ErrLong},
		{"too long once normalised", strings.Repeat("\U0001d160", MaxSize/4), cheapest(), ErrLong},
		{"not UTF-8", "\xff", cheapest(), ErrUTF8},
		{"another hash", "p", change(func(k *keyring.KDF) { k.Name = "scrypt" }), nil},
		{"too little memory", "p", change(func(k *keyring.KDF) { k.Memory-- }), nil},
		{"too much memory", "p", change(func(k *keyring.KDF) { k.Memory = keyring.MaxKDFMemory + 1 }), nil},
		{"too few passes", "p", change(func(k *keyring.KDF) { k.Time-- }), nil},
		{"too many passes", "p", change(func(k *keyring.KDF) { k.Time = keyring.MaxKDFTime + 1 }), nil},
		{"no lane", "p", change(func(k *keyring.KDF) { k.Lanes = 0 }), nil},
		{"too many lanes", "p", change(func(k *keyring.KDF) { k.Lanes = keyring.MaxKDFLanes + 1 }), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Deriver
			key := make([]byte, KeySize)
			err := d.Derive(key, []byte(tt.passphrase), tt.kdf)
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if !bytes.Equal(key, make([]byte, KeySize)) {
				t.Fatal("a key nevertheless")
			}
		})
	}
}
