package keyfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

// damageSeeds are unencrypted files, one or more of each format that has both
// halves. (Ed25519 in PKCS#8 is a seed alone: every seed is a key.)
var damageSeeds = []string{
	"ed25519.openssh", "p256.openssh", "rsa2048.openssh", "mldsa106.openssh",
	"rsa2048.pem", "p256.pem", "rsa2048.pkcs8", "p521.pkcs8",
	"ed25519.ppk2", "p256.ppk3", "rsa2048.ppk3",
}

// known reports whether err is one that Parse promises.
func known(err error) bool {
	for _, e := range []error{
		ErrNotAKey, ErrMultipleKeys, ErrTooLarge, ErrPassphraseNeeded,
		ErrWrongPassphrase, ErrUnsupported, ErrDamaged, ErrMismatch,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// wantSameOrError fails unless data gives a promised error or the very key of want.
func wantSameOrError(t *testing.T, data []byte, want *Key, at int) {
	t.Helper()
	k, err := Parse(data, nil)
	if err != nil {
		if !known(err) {
			t.Fatalf("byte %d: error %v", at, err)
		}
		return
	}
	defer k.Close()
	if !bytes.Equal(k.Public(), want.Public()) || !bytes.Equal(k.Encoding(), want.Encoding()) {
		t.Fatalf("byte %d: another key", at)
	}
}

func TestTruncatedAtEveryByte(t *testing.T) {
	for _, f := range fixtures(t) {
		if f.refusal() != nil || f.name == "rsa8192" {
			continue
		}
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			// Without its line end and its last dashes, the last line still ends the key.
			for n := range len(bytes.TrimRight(f.data, "-\r\n")) {
				k, err := Parse(f.data[:n], never(t))
				if k != nil || !known(err) {
					t.Fatalf("%d of %d bytes: %v", n, len(f.data), err)
				}
			}
		})
	}
}

// TestTruncatedInsideArmor cuts the binary form, so that the armour is whole and
// every inner length is too long.
func TestTruncatedInsideArmor(t *testing.T) {
	for _, f := range fixtures(t) {
		if f.refusal() != nil || f.name == "rsa8192" || strings.HasPrefix(f.format, "ppk") {
			continue
		}
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			block, _ := pem.Decode(f.data)
			if block.Headers["DEK-Info"] != "" {
				t.Skip("its binary form has no lengths in clear")
			}
			for n := range len(block.Bytes) {
				k, err := Parse(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes[:n]}), never(t))
				if k != nil || !known(err) {
					t.Fatalf("%d of %d bytes: %v", n, len(block.Bytes), err)
				}
			}
		})
	}
}

func TestEveryBitFlipGivesAnErrorOrTheSameKey(t *testing.T) {
	for _, file := range damageSeeds {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			f := readFixture(t, file)
			want := mustParse(t, f.data, nil)
			text, binary := bytes.Clone(f.data), []byte(nil)
			block, _ := pem.Decode(f.data)
			step := 1
			if strings.HasPrefix(file, "rsa") || strings.HasPrefix(file, "mldsa") {
				step = 31 // each that gets through costs a signature or an ML-DSA key
			}
			for at := 0; at < len(text); at += step {
				text[at] ^= 1 << (at % 8)
				wantSameOrError(t, text, want, at)
				text[at] ^= 1 << (at % 8)
			}
			if block == nil {
				return
			}
			binary = block.Bytes
			for at := 0; at < len(binary); at += step {
				binary[at] ^= 1 << (at % 8)
				wantSameOrError(t, pem.EncodeToMemory(block), want, at)
				binary[at] ^= 1 << (at % 8)
			}
		})
	}
}

// TestMACCoversAPPK changes each thing a .ppk's MAC covers.
func TestMACCoversAPPK(t *testing.T) {
	for _, file := range []string{"ed25519.ppk2", "ed25519.ppk2.aes", "ed25519.ppk3", "ed25519.ppk3.argon2id"} {
		f := readFixture(t, file)
		want := ErrDamaged
		if f.encrypted {
			want = ErrWrongPassphrase
		}
		lines := strings.Split(string(f.data), "\n")
		last := func(prefix string) int { // the line of base64 behind prefix's
			for i, l := range lines {
				if strings.HasPrefix(l, prefix) {
					return i + 1
				}
			}
			t.Fatalf("no %s in %s", prefix, file)
			return 0
		}
		swap := func(s string) string { // other base64 digits of the same value class
			return strings.Map(func(r rune) rune {
				if r == 'A' {
					return 'B'
				}
				return r
			}, s)
		}
		for _, c := range []struct {
			name string
			line int
			with func(string) string
		}{
			{"comment", last("Encryption"), func(s string) string { return s + "x" }},
			{"private key", last("Private-Lines"), func(s string) string { return "Z" + s[1:] }},
			{"MAC", len(lines) - 2, func(s string) string {
				if strings.HasSuffix(s, "0") {
					return s[:len(s)-1] + "1"
				}
				return s[:len(s)-1] + "0"
			}},
			{"public key", last("Public-Lines") + 1, func(s string) string {
				if strings.HasPrefix(s, "A") {
					return "B" + s[1:]
				}
				return "A" + s[1:]
			}},
		} {
			t.Run(file+" "+c.name, func(t *testing.T) {
				changed := append([]string(nil), lines...)
				changed[c.line] = c.with(changed[c.line])
				if changed[c.line] == lines[c.line] {
					changed[c.line] = swap(lines[c.line])
				}
				k, err := Parse([]byte(strings.Join(changed, "\n")), passphrase(fixturePassphrase))
				if k != nil || !errors.Is(err, want) {
					t.Fatalf("got %v, want %v", err, want)
				}
			})
		}
	}
}

// TestTagCoversOpenSSH flips bits in what an AEAD cipher encrypted, and in its tag.
func TestTagCoversOpenSSH(t *testing.T) {
	for _, file := range []string{"ed25519.openssh.aes256-gcm", "ed25519.openssh.aes128-gcm", "ed25519.openssh.chacha20-poly1305"} {
		block, _ := pem.Decode(readFixture(t, file).data)
		n := len(block.Bytes)
		for _, at := range []int{n - 1, n - 16, n - 17, n - 60} {
			block.Bytes[at] ^= 0x80
			k, err := Parse(pem.EncodeToMemory(block), passphrase(fixturePassphrase))
			if k != nil || !errors.Is(err, ErrWrongPassphrase) {
				t.Errorf("%s, %d bytes from the end: %v", file, n-at, err)
			}
			block.Bytes[at] ^= 0x80
		}
	}
}
