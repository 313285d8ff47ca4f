package keyfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

// bcryptSalt is the length of the salt ssh-keygen writes, in bytes.
const bcryptSalt = 16

// armorLine is the length of OpenSSH's base64 lines, in characters.
const armorLine = 70

// MarshalOpenSSH writes the private key in encoding (see Key.Encoding) as an
// OpenSSH private key file (PROTOCOL.key), encrypted with aes256-ctr under
// passphrase and bcrypt_pbkdf of BcryptRounds rounds; an empty passphrase leaves
// it in plaintext. It first checks that the key's halves belong together. The
// caller wipes encoding, passphrase and the result.
func MarshalOpenSSH(encoding []byte, comment string, passphrase []byte) (file []byte, err error) {
	guard.Do(func() { file, err = marshalOpenSSH(encoding, comment, passphrase) })
	return file, err
}

func marshalOpenSSH(encoding []byte, comment string, passphrase []byte) ([]byte, error) {
	if len(passphrase) > MaxPassphrase {
		return nil, tooLarge("length of the passphrase in bytes", uint64(len(passphrase)), MaxPassphrase)
	}
	if comment = pubkey.CleanComment(comment); len(comment) > MaxComment {
		return nil, tooLarge("length of the comment in bytes", uint64(len(comment)), MaxComment)
	}
	r := wire.NewReader(encoding)
	k, err := readIdentity(&r)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	if r.End() != nil {
		return nil, damaged("bytes after the private key")
	}

	c := opensshCipherByName([]byte("none"))
	kdf, options, salt := "none", []byte(nil), []byte(nil)
	if len(passphrase) > 0 {
		c = opensshCipherByName([]byte("aes256-ctr"))
		salt = make([]byte, bcryptSalt)
		if _, err := rand.Read(salt); err != nil {
			return nil, fmt.Errorf("read random bytes: %w", err)
		}
		kdf, options = "bcrypt", wire.AppendUint32(wire.AppendString(nil, salt), BcryptRounds)
	}
	private, err := privateSection(k, comment, c.block)
	if err != nil {
		return nil, err
	}
	defer guard.Wipe(private)
	if len(passphrase) > 0 {
		if err := sealCTR(c, passphrase, salt, private); err != nil {
			return nil, err
		}
	}

	blob := make([]byte, 0, 256+len(k.public)+len(private))
	blob = append(blob, opensshMagic...)
	blob = wire.AppendString(blob, c.name)
	blob = wire.AppendString(blob, kdf)
	blob = wire.AppendString(blob, options)
	blob = wire.AppendUint32(blob, 1) // keys
	blob = wire.AppendString(blob, k.public)
	blob = wire.AppendString(blob, private)
	defer guard.Wipe(blob)
	return armor(blob), nil
}

// privateSection returns two equal check values, the key, its comment, and
// padding 1, 2, 3, … to a multiple of block. The caller wipes it.
func privateSection(k *Key, comment string, block int) ([]byte, error) {
	var check [4]byte
	if _, err := rand.Read(check[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	encoding := k.Encoding()
	size := 2*len(check) + len(encoding) + 4 + len(comment)
	b := make([]byte, 0, size+block) // never grows, so no copy is left behind
	b = append(append(b, check[:]...), check[:]...)
	b = append(b, encoding...)
	b = wire.AppendString(b, comment)
	for i := byte(1); len(b)%block != 0; i++ {
		b = append(b, i)
	}
	return b, nil
}

// sealCTR encrypts text in place under c, an AES-CTR cipher.
func sealCTR(c *opensshCipher, passphrase, salt, text []byte) error {
	derived := bcryptPBKDF(passphrase, salt, BcryptRounds, c.key+c.iv)
	defer guard.Wipe(derived)
	b, err := aes.NewCipher(derived[:c.key])
	if err != nil {
		return fmt.Errorf("encrypt with %s: %w", c.name, err)
	}
	cipher.NewCTR(b, derived[c.key:]).XORKeyStream(text, text)
	return nil
}

// armor returns blob in base64 between BEGIN and END lines, with ssh-keygen's line
// length.
func armor(blob []byte) []byte {
	const begin, end = "-----BEGIN " + pemOpenSSH + "-----\n", "-----END " + pemOpenSSH + "-----\n"
	text := base64.StdEncoding.AppendEncode(nil, blob)
	defer guard.Wipe(text)
	out := make([]byte, 0, len(begin)+len(end)+len(text)+len(text)/armorLine+1)
	out = append(out, begin...)
	for rest := text; len(rest) > 0; {
		n := min(armorLine, len(rest))
		out = append(append(out, rest[:n]...), '\n')
		rest = rest[n:]
	}
	return append(out, end...)
}
