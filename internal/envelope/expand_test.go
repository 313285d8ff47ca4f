package envelope

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// TestExpandIsHKDF holds expand against the standard library's HKDF.
func TestExpandIsHKDF(t *testing.T) {
	for size := range 1100 {
		key, salt, info := make([]byte, KeySize), make([]byte, saltSize), make(Context, size)
		rand.Read(key)
		rand.Read(salt)
		rand.Read(info)
		want, err := hkdf.Key(sha256.New, key, salt, string(info), 64)
		if err != nil {
			t.Fatal(err)
		}
		var got [64]byte
		expand(&got, key, salt, info)
		if !bytes.Equal(got[:], want) {
			t.Fatalf("info of %d bytes: %x, want %x", size, got, want)
		}
	}
}

func TestExpandStaysOnTheStack(t *testing.T) {
	key, salt, info := make([]byte, KeySize), make([]byte, saltSize), make(Context, 200)
	var okm [64]byte
	if n := testing.AllocsPerRun(100, func() { expand(&okm, key, salt, info) }); n != 0 {
		t.Fatalf("it allocates %v times", n)
	}
}
