package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestHostilePPK(t *testing.T) {
	argon := string(readFixture(t, "ed25519.ppk3.argon2id").data)
	clear := string(readFixture(t, "ed25519.ppk3").data)
	line := func(text, name, value string) string {
		lines := strings.Split(text, "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, name+": ") {
				lines[i] = name + ": " + value
				return strings.Join(lines, "\n")
			}
		}
		t.Fatalf("no line %s", name)
		return ""
	}
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"a gigabyte and a bit", line(argon, "Argon2-Memory", fmt.Sprint(MaxArgon2Memory+1)), ErrTooLarge},
		{"4 tebibytes", line(argon, "Argon2-Memory", "4294967295"), ErrTooLarge},
		{"memory beyond 32 bits", line(argon, "Argon2-Memory", "99999999999999999999"), ErrTooLarge},
		{"negative memory", line(argon, "Argon2-Memory", "-1"), ErrDamaged},
		{"no memory", line(argon, "Argon2-Memory", "0"), ErrDamaged},
		{"many passes", line(argon, "Argon2-Passes", fmt.Sprint(MaxArgon2Passes+1)), ErrTooLarge},
		{"no passes", line(argon, "Argon2-Passes", "0"), ErrDamaged},
		{"much memory many times", line(line(argon, "Argon2-Memory", "1048576"), "Argon2-Passes", "17"), ErrTooLarge},
		{"many lanes", line(argon, "Argon2-Parallelism", fmt.Sprint(MaxArgon2Parallelism+1)), ErrTooLarge},
		{"256 lanes", line(argon, "Argon2-Parallelism", "256"), ErrTooLarge},
		{"no lanes", line(argon, "Argon2-Parallelism", "0"), ErrDamaged},
		{"a salt that is not hexadecimal", line(argon, "Argon2-Salt", "xyz"), ErrDamaged},
		{"a long salt", line(argon, "Argon2-Salt", strings.Repeat("00", MaxSalt+1)), ErrTooLarge},
		{"another derivation", line(argon, "Key-Derivation", "md5"), ErrUnsupported},
		{"lines that are not there", line(clear, "Public-Lines", "1000000"), ErrDamaged},
		{"4 billion lines", line(clear, "Private-Lines", "4294967295"), ErrDamaged},
		{"no private lines", line(clear, "Private-Lines", "0"), ErrDamaged},
		{"another cipher", line(clear, "Encryption", "aes128-cbc"), ErrUnsupported},
		{"encrypted by name only", line(clear, "Encryption", "aes256-cbc"), ErrDamaged},
		{"a short MAC", line(clear, "Private-MAC", "00"), ErrDamaged},
		{"another key after the MAC", clear + clear, ErrMultipleKeys},
		{"a PEM key after the MAC", clear + string(readFixture(t, "p256.pem").data), ErrMultipleKeys},
		{"version 1", strings.Replace(clear, "File-3", "File-1", 1), ErrUnsupported},
		{"version 4", strings.Replace(clear, "File-3", "File-4", 1), ErrUnsupported},
		{"version 2 in a file of version 3", strings.Replace(clear, "File-3", "File-2", 1), ErrDamaged},
		{"another type in the first line", strings.Replace(clear, "ssh-ed25519", "ssh-rsa", 1), ErrDamaged},
		{"a certificate", strings.Replace(clear, "ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", 1), ErrUnsupported},
		{"no type", strings.Replace(clear, "ssh-ed25519", "", 1), ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := Parse([]byte(c.text), never(t)); k != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

// ppk returns an unencrypted .ppk of version 2 with a right MAC.
func ppk(typ string, public, private []byte) []byte {
	f := ppkFile{version: 2, keyType: []byte(typ), encryption: []byte("none"), public: public, private: private}
	mac := f.computeMAC(f.deriveKeys(nil).mac)
	return fmt.Appendf(nil, "PuTTY-User-Key-File-2: %s\nEncryption: none\nComment: \nPublic-Lines: 1\n%s\nPrivate-Lines: 1\n%s\nPrivate-MAC: %x\n",
		typ, b64(public), b64(private), mac)
}

func TestPPKWithARightMAC(t *testing.T) {
	short := mustParse(t, readFixture(t, "short.openssh").data, nil)
	other := mustParse(t, readFixture(t, "ed25519.openssh").data, nil)
	p256 := mustParse(t, readFixture(t, "p256.openssh").data, nil)
	seed := string(short.Encoding()[len(short.Public())+4:][:32])

	for _, trimmed := range []string{seed, strings.TrimRight(seed, "\x00")} {
		k := mustParse(t, ppk(typeEd25519, short.Public(), strs(trimmed)), nil)
		if !bytes.Equal(k.Encoding(), short.Encoding()) {
			t.Errorf("seed of %d bytes: another key", len(trimmed))
		}
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"another public key", ppk(typeEd25519, other.Public(), strs(seed)), ErrMismatch},
		{"a seed of 33 bytes", ppk(typeEd25519, short.Public(), strs(seed+"\x00")), ErrDamaged},
		{"no seed", ppk(typeEd25519, short.Public(), nil), ErrDamaged},
		{"bytes after the public key", ppk(typeEd25519, append(bytes.Clone(short.Public()), 0), strs(seed)), ErrDamaged},
		{"another curve's name", ppk("ecdsa-sha2-nistp256", bytes.Replace(p256.Public(), strs("nistp256"), strs("nistp384"), 1), strs("\x01")), ErrMismatch},
		{"a scalar of 1", ppk("ecdsa-sha2-nistp256", p256.Public(), strs("\x01")), ErrMismatch},
		{"a scalar of 0", ppk("ecdsa-sha2-nistp256", p256.Public(), strs("")), ErrDamaged},
		{"a scalar beyond the order", ppk("ecdsa-sha2-nistp256", p256.Public(), strs("\x00"+strings.Repeat("\xff", 32))), ErrDamaged},
		{"a scalar longer than the curve", ppk("ecdsa-sha2-nistp256", p256.Public(), strs(strings.Repeat("\x7f", 33))), ErrDamaged},
		{"a negative scalar", ppk("ecdsa-sha2-nistp256", p256.Public(), strs("\xff")), ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := Parse(c.file, nil); k != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}
