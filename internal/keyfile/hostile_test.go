package keyfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/wire"
)

// An opensshParts is an OpenSSH private key file to be broken before it is written.
type opensshParts struct {
	cipher, kdf string
	options     []byte
	keys        uint32
	public      []byte
	private     []byte
	after       []byte
}

func (p opensshParts) file() []byte {
	b := []byte(opensshMagic)
	b = wire.AppendString(b, p.cipher)
	b = wire.AppendString(b, p.kdf)
	b = wire.AppendString(b, p.options)
	b = wire.AppendUint32(b, p.keys)
	b = wire.AppendString(b, p.public)
	b = wire.AppendString(b, p.private)
	return pem.EncodeToMemory(&pem.Block{Type: pemOpenSSH, Bytes: append(b, p.after...)})
}

func strs(ss ...string) (b []byte) {
	for _, s := range ss {
		b = wire.AppendString(b, s)
	}
	return b
}

// private returns a private section around the fields of an identity.
func private(fields []byte, comment string) []byte {
	b := append([]byte{1, 2, 3, 4, 1, 2, 3, 4}, fields...)
	b = wire.AppendString(b, comment)
	for i := byte(1); len(b)%8 != 0; i++ {
		b = append(b, i)
	}
	return b
}

// plain is ed25519.openssh taken apart.
func plain(t *testing.T) (opensshParts, *Key) {
	k := mustParse(t, readFixture(t, "ed25519.openssh").data, nil)
	return opensshParts{cipher: "none", kdf: "none", keys: 1, public: k.Public(), private: private(k.Encoding(), "c")}, k
}

func TestHostileOpenSSH(t *testing.T) {
	good, k := plain(t)
	if got := mustParse(t, good.file(), nil); !bytes.Equal(got.Encoding(), k.Encoding()) {
		t.Fatal("the file is wrong before it is broken")
	}
	bcrypt := func(salt string, rounds uint32) []byte { return wire.AppendUint32(strs(salt), rounds) }
	encrypted := func(p *opensshParts) {
		p.cipher, p.kdf, p.options = "aes256-ctr", "bcrypt", bcrypt("0123456789abcdef", 16)
		p.private = make([]byte, 64)
	}
	other := mustParse(t, readFixture(t, "short.openssh").data, nil)
	for _, c := range []struct {
		name string
		want error
		with func(*opensshParts)
	}{
		{"no key", ErrDamaged, func(p *opensshParts) { p.keys = 0 }},
		{"two keys", ErrMultipleKeys, func(p *opensshParts) { p.keys = 2 }},
		{"4 billion keys", ErrMultipleKeys, func(p *opensshParts) { p.keys = 1<<32 - 1 }},
		{"bytes after the end", ErrDamaged, func(p *opensshParts) { p.after = []byte{0} }},
		{"unknown cipher", ErrUnsupported, func(p *opensshParts) { encrypted(p); p.cipher = "rot13" }},
		{"unknown key derivation", ErrUnsupported, func(p *opensshParts) { encrypted(p); p.kdf = "md5" }},
		{"cipher without key derivation", ErrUnsupported, func(p *opensshParts) { encrypted(p); p.kdf = "none" }},
		{"key derivation without cipher", ErrDamaged, func(p *opensshParts) { p.kdf = "bcrypt" }},
		{"too many rounds", ErrTooLarge, func(p *opensshParts) { encrypted(p); p.options = bcrypt("salt", MaxBcryptRounds+1) }},
		{"4 billion rounds", ErrTooLarge, func(p *opensshParts) { encrypted(p); p.options = bcrypt("salt", 1<<32-1) }},
		{"no rounds", ErrDamaged, func(p *opensshParts) { encrypted(p); p.options = bcrypt("salt", 0) }},
		{"no salt", ErrDamaged, func(p *opensshParts) { encrypted(p); p.options = bcrypt("", 16) }},
		{"a long salt", ErrTooLarge, func(p *opensshParts) { encrypted(p); p.options = bcrypt(strings.Repeat("s", MaxSalt+1), 16) }},
		{"bytes after the rounds", ErrDamaged, func(p *opensshParts) { encrypted(p); p.options = append(p.options, 0) }},
		{"half a block", ErrDamaged, func(p *opensshParts) { encrypted(p); p.private = p.private[:63] }},
		{"no private section", ErrDamaged, func(p *opensshParts) { encrypted(p); p.private = nil }},
		{"no tag", ErrDamaged, func(p *opensshParts) { encrypted(p); p.cipher = "aes256-gcm@openssh.com" }},
		{"a tag without need", ErrDamaged, func(p *opensshParts) { encrypted(p); p.after = make([]byte, 16) }},
		{"a security key", ErrUnsupported, func(p *opensshParts) { encrypted(p); p.public = strs("sk-ssh-ed25519@openssh.com", "k", "ssh:") }},
		{"a security key in clear", ErrUnsupported, func(p *opensshParts) {
			p.private = private(strs("sk-ecdsa-sha2-nistp256@openssh.com", "k", "ssh:"), "c")
		}},
		{"a certificate", ErrUnsupported, func(p *opensshParts) { p.public = strs("ssh-ed25519-cert-v01@openssh.com", "k") }},
		{"a type nobody knows", ErrUnsupported, func(p *opensshParts) { p.public = strs("ssh-ed25520") }},
		{"a type with an escape sequence", ErrDamaged, func(p *opensshParts) { p.public = strs("ssh-\x1b[2J") }},
		{"an inner type with an escape sequence", ErrUnsupported, func(p *opensshParts) { p.private = private(strs("ssh-\x1b[2J"), "c") }},
		{"check values that differ", ErrDamaged, func(p *opensshParts) { p.private[0] ^= 1 }},
		{"wrong padding", ErrDamaged, func(p *opensshParts) { p.private = append(p.private, 9, 9, 9, 9, 9, 9, 9, 9) }},
		{"much padding", ErrDamaged, func(p *opensshParts) {
			p.private = private(k.Encoding(), "c12")
			for i := len(p.private) % 8; i < 264; i++ {
				p.private = append(p.private, byte(i+1))
			}
		}},
		{"another public key outside", ErrMismatch, func(p *opensshParts) { p.public = other.Public() }},
		{"another public key inside", ErrMismatch, func(p *opensshParts) {
			secret := k.Encoding()[len(k.Public())+4:]
			p.private = private(wire.AppendString(bytes.Clone(other.Public()), secret), "c")
		}},
		{"another public key everywhere but in the seed", ErrMismatch, func(p *opensshParts) {
			seed := k.Encoding()[len(k.Public())+4:][:32]
			point := other.Public()[len(other.Public())-32:]
			p.public = other.Public()
			p.private = private(wire.AppendString(bytes.Clone(other.Public()), append(bytes.Clone(seed), point...)), "c")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good
			p.private = bytes.Clone(good.private)
			c.with(&p)
			got, err := Parse(p.file(), never(t))
			if got != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Fatalf("the error quotes the file: %q", err)
			}
		})
	}
}

// TestHalvesThatDontBelongTogether puts one number of another key into each type.
func TestHalvesThatDontBelongTogether(t *testing.T) {
	fields := func(k *Key) (all [][]byte) {
		r := wire.NewReader(k.Encoding())
		for r.Len() > 0 {
			all = append(all, bytes.Clone(r.String()))
		}
		return all
	}
	for _, c := range []struct {
		file   string
		fields []string // of the identity; "" may differ
	}{
		{"ed25519.openssh", []string{"", "public", "private"}},
		{"p256.openssh", []string{"", "", "point", "scalar"}},
		{"p384.openssh", []string{"", "", "point", "scalar"}},
		{"p521.openssh", []string{"", "", "point", "scalar"}},
		{"rsa2048.openssh", []string{"", "n", "e", "d", "", "p", "q"}},
		{"mldsa104.openssh", []string{"", "public", "seeds"}},
		{"mldsa106.openssh", []string{"", "public", "seeds"}},
	} {
		k := mustParse(t, readFixture(t, c.file).data, nil)
		for i, name := range c.fields {
			if name == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", k.Type(), name), func(t *testing.T) {
				all := fields(k)
				last := len(all[i]) - 1
				all[i][last] ^= 2 // odd numbers stay odd, points stay uncompressed
				var broken []byte
				for _, f := range all {
					broken = wire.AppendString(broken, f)
				}
				if file, err := MarshalOpenSSH(broken, "", nil); file != nil || !errors.Is(err, ErrMismatch) {
					t.Errorf("export: got %v", err)
				}
				p := opensshParts{cipher: "none", kdf: "none", keys: 1, public: k.Public(), private: private(broken, "c")}
				if got, err := Parse(p.file(), nil); got != nil || !errors.Is(err, ErrMismatch) {
					t.Errorf("import: got %v", err)
				}
			})
		}
	}
}

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
		{"another derivation", line(argon, "Key-Derivation", "md5"), ErrDamaged},
		{"lines that are not there", line(clear, "Public-Lines", "1000000"), ErrDamaged},
		{"4 billion lines", line(clear, "Private-Lines", "4294967295"), ErrDamaged},
		{"no private lines", line(clear, "Private-Lines", "0"), ErrDamaged},
		{"another cipher", line(clear, "Encryption", "aes128-cbc"), ErrUnsupported},
		{"encrypted by name only", line(clear, "Encryption", "aes256-cbc"), ErrDamaged},
		{"a short MAC", line(clear, "Private-MAC", "00"), ErrDamaged},
		{"text after the MAC", clear + "more\n", ErrDamaged},
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

// A pkcs8Parts is an encrypted PKCS#8 file to be broken before it is written.
type pkcs8Parts struct {
	kdfOID, cipherOID string
	kdf               func(*cryptobyte.Builder)
	iv, text          []byte
}

func (p pkcs8Parts) file() []byte {
	oid := func(b *cryptobyte.Builder, s string) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			oid(b, oidPBES2)
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					oid(b, p.kdfOID)
					b.AddASN1(asn1.SEQUENCE, p.kdf)
				})
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					oid(b, p.cipherOID)
					b.AddASN1OctetString(p.iv)
				})
			})
		})
		b.AddASN1OctetString(p.text)
	})
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: b.BytesOrPanic()})
}

func TestHostilePKCS8(t *testing.T) {
	const aes256 = "\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
	pbkdf2 := func(salt int, numbers ...uint64) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(make([]byte, salt))
			for _, n := range numbers {
				b.AddASN1Uint64(n)
			}
		}
	}
	scrypt := pbkdf2 // the same shape: a salt and numbers
	for _, c := range []struct {
		name string
		want error
		with func(*pkcs8Parts)
	}{
		{"many iterations", ErrTooLarge, func(p *pkcs8Parts) { p.kdf = pbkdf2(8, MaxPBKDF2Iterations+1) }},
		{"2^63 iterations", ErrTooLarge, func(p *pkcs8Parts) { p.kdf = pbkdf2(8, 1<<63) }},
		{"no iterations", ErrDamaged, func(p *pkcs8Parts) { p.kdf = pbkdf2(8, 0) }},
		{"a long salt", ErrTooLarge, func(p *pkcs8Parts) { p.kdf = pbkdf2(MaxSalt+1, 1) }},
		{"a key length that isn't the cipher's", ErrDamaged, func(p *pkcs8Parts) { p.kdf = pbkdf2(8, 1, 1<<40) }},
		{"an unknown cipher", ErrUnsupported, func(p *pkcs8Parts) { p.cipherOID = "\x2a\x03" }},
		{"an unknown derivation", ErrUnsupported, func(p *pkcs8Parts) { p.kdfOID = "\x2a\x03" }},
		{"a short initialisation vector", ErrDamaged, func(p *pkcs8Parts) { p.iv = p.iv[:8] }},
		{"no initialisation vector", ErrDamaged, func(p *pkcs8Parts) { p.iv = nil }},
		{"half a block", ErrDamaged, func(p *pkcs8Parts) { p.text = p.text[:15] }},
		{"no text", ErrDamaged, func(p *pkcs8Parts) { p.text = nil }},
		{"scrypt over a gigabyte", ErrTooLarge, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1<<21, 8, 1) }},
		{"scrypt with N and r that overflow", ErrTooLarge, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1<<63, 1<<63, 1) }},
		{"scrypt with p that overflows", ErrTooLarge, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1<<4, 1, 1<<62) }},
		{"scrypt in many lanes", ErrTooLarge, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1<<14, 8, 1<<9) }},
		{"scrypt with N no power of 2", ErrDamaged, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1000, 8, 1) }},
		{"scrypt with N = 1", ErrDamaged, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 1, 8, 1) }},
		{"scrypt with r = 0", ErrDamaged, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 16, 0, 1) }},
		{"scrypt with p = 0", ErrDamaged, func(p *pkcs8Parts) { p.kdfOID, p.kdf = oidScrypt, scrypt(8, 16, 8, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pkcs8Parts{kdfOID: oidPBKDF2, cipherOID: aes256, kdf: pbkdf2(8, 2048), iv: make([]byte, 16), text: make([]byte, 48)}
			c.with(&p)
			if k, err := Parse(p.file(), never(t)); k != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestFilesThatAreNoKeys(t *testing.T) {
	good := string(readFixture(t, "ed25519.openssh").data)
	pub := string(readFixture(t, "ed25519.pub").data)
	cert := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for _, c := range []struct {
		name, data string
		want       error
	}{
		{"empty", "", ErrNotAKey},
		{"text", "hello\n", ErrNotAKey},
		{"binary", "\x00\x01\x02", ErrNotAKey},
		{"DER", "\x30\x82\x01\x00\x02\x01\x00", ErrNotAKey},
		{"UTF-16", "\xff\xfe-\x00-\x00", ErrNotAKey},
		{"too large", strings.Repeat("x", MaxFile+1), ErrTooLarge},
		{"two keys", good + good, ErrMultipleKeys},
		{"a key and half a key", good + good[:len(good)/2], ErrMultipleKeys},
		{"a certificate", cert, ErrPublicKey},
		{"an SSH certificate", "ssh-ed25519-cert-v01@openssh.com " + b64(strs("ssh-ed25519-cert-v01@openssh.com", "x")), ErrPublicKey},
		{"an authorized_keys line with options", "# mine\nrestrict,command=\"x\" " + pub, ErrPublicKey},
		{"a known_hosts line", "host " + pub, ErrPublicKey},
		{"a line with another type before the blob", strings.Replace(pub, "ssh-ed25519", "ssh-rsa", 1), ErrNotAKey},
		{"a broken block and a certificate", "-----BEGIN PRIVATE KEY-----\nAA\n" + cert, ErrDamaged},
		{"PEM of something else", "-----BEGIN MESSAGE-----\nAAAA\n-----END MESSAGE-----\n", ErrNotAKey},
		{"a PEM private key of another kind", "-----BEGIN ANY PRIVATE KEY-----\nAAAA\n-----END ANY PRIVATE KEY-----\n", ErrUnsupported},
		{"an encrypted DSA key", "-----BEGIN DSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END DSA PRIVATE KEY-----\n", ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := Parse([]byte(c.data), never(t)); k != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, data string }{
		{"a byte order mark and blank lines before", "\ufeff\n\n" + good},
		{"a certificate before and text behind", cert + "key:\n" + good + "text\n"},
	} {
		t.Run(c.name, func(t *testing.T) { mustParse(t, []byte(c.data), never(t)) })
	}
}

func TestEncryptedPEMHeaders(t *testing.T) {
	good := string(readFixture(t, "rsa2048.pem.aes128").data)
	iv := good[strings.Index(good, "AES-128-CBC,"):][:len("AES-128-CBC,")+32]
	for _, c := range []struct{ name, with string }{
		{"another cipher", "IDEA-CBC,0011223344556677"},
		{"no initialisation vector", "AES-128-CBC,"},
		{"a short initialisation vector", "AES-128-CBC,0011"},
		{"no hexadecimal", "AES-128-CBC,xx"},
		{"no comma", "AES-128-CBC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := Parse([]byte(strings.Replace(good, iv, c.with, 1)), passphrase(fixturePassphrase))
			if k != nil || !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestCommentsAreOneSafeLine(t *testing.T) {
	good, k := plain(t)
	for _, c := range []struct{ name, comment, want string }{
		{"an escape sequence", "a\x1b[31mb", "a?[31mb"},
		{"two lines", "a\nssh-rsa AAAA", "a?ssh-rsa AAAA"},
		{"too long", strings.Repeat("é", MaxComment), strings.Repeat("é", MaxComment/2)},
		{"too long, cut inside a character", "a" + strings.Repeat("é", MaxComment), "a" + strings.Repeat("é", MaxComment/2-1) + "?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good.private = private(k.Encoding(), c.comment)
			if got := mustParse(t, good.file(), nil).Comment(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
