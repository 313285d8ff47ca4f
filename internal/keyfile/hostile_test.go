package keyfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

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
		{"a security key", ErrUnsupported, func(p *opensshParts) { encrypted(p); p.public = strs("sk-ssh-ed448@openssh.com", "k", "ssh:") }},
		{"a security key in clear", ErrUnsupported, func(p *opensshParts) {
			p.private = private(strs("sk-ecdsa-sha2-nistp384@openssh.com", "k", "ssh:"), "c")
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
	for name, c := range map[string]struct{ data, named string }{
		"a TPM's key":        {"-----BEGIN TSS2 PRIVATE KEY-----\nMAsGBmeBBQoBA6AB\n-----END TSS2 PRIVATE KEY-----\n", "a key of a TPM (TSS2)"},
		"a TPM's, one line":  {"-----BEGIN TSS2 PRIVATE KEY----- MAsGBmeBBQoBA6AB -----END TSS2 PRIVATE KEY-----", "a key of a TPM (TSS2)"},
		"a PGP private key":  {"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFgEZ\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n", "the format of PGP"},
		"ssh.com's, as mail": {"> " + string(readFixture(t, "rsa2048.sshcom").data), "kind of PEM private key"},
	} {
		if k, err := Parse([]byte(c.data), never(t)); k != nil || !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.named) {
			t.Errorf("%s: %v, want %q", name, err, c.named)
		}
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
	for _, c := range []struct {
		name, with string
		want       error
	}{
		{"another cipher", "IDEA-CBC,0011223344556677", ErrUnsupported},
		{"a cipher with an escape sequence", "\x1b[2J,0011223344556677", ErrUnsupported},
		{"no cipher", ",0011223344556677", ErrDamaged},
		{"nothing", "", ErrDamaged},
		{"no initialisation vector", "AES-128-CBC,", ErrDamaged},
		{"a short initialisation vector", "AES-128-CBC,0011", ErrDamaged},
		{"no hexadecimal", "AES-128-CBC,xx", ErrDamaged},
		{"no comma", "AES-128-CBC", ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := Parse([]byte(strings.Replace(good, iv, c.with, 1)), never(t))
			if k != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "\x1b") {
				t.Fatalf("the error quotes the file: %q", err)
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

// changeDER replaces bytes inside the only PEM block of a file.
func changeDER(file []byte, from, to string) []byte {
	block, _ := pem.Decode(file)
	block.Bytes = bytes.Replace(block.Bytes, []byte(from), []byte(to), 1)
	return pem.EncodeToMemory(block)
}
