package keyfile

import (
	"encoding/pem"
	"errors"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

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
