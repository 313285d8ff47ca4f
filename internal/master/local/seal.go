package local

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"vigil/internal/guard"
	"vigil/internal/master"
)

// label opens the context of a share that a device key wraps.
const label = "vigil v1 local master share"

func sealContext(c master.Context) []byte {
	var b []byte
	for _, field := range [][]byte{[]byte(label), c.Vault[:], c.Identity[:], []byte(c.Purpose)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}

const (
	saltSize       = 32
	commitmentSize = 32
	overhead       = saltSize + commitmentSize + 16
)

var errOpen = errors.New("not sealed under this key and context")

func seal(key, share []byte, c master.Context) ([]byte, error) {
	sealed := make([]byte, saltSize, overhead+len(share))
	if _, err := rand.Read(sealed); err != nil {
		return nil, err
	}
	aead, commitment, err := derive(key, sealed, c)
	if err != nil {
		return nil, err
	}
	sealed = append(sealed, commitment...)
	return aead.Seal(sealed, make([]byte, aead.NonceSize()), share, sealContext(c)), nil
}

func open(dst, key, sealed []byte, c master.Context) error {
	if len(sealed) != overhead+len(dst) {
		return errOpen
	}
	aead, commitment, err := derive(key, sealed[:saltSize], c)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(commitment, sealed[saltSize:saltSize+commitmentSize]) != 1 {
		return errOpen
	}
	if _, err := aead.Open(dst[:0], make([]byte, aead.NonceSize()), sealed[saltSize+commitmentSize:], sealContext(c)); err != nil {
		return errOpen
	}
	return nil
}

func derive(key, salt []byte, c master.Context) (cipher.AEAD, []byte, error) {
	okm, err := hkdf.Key(sha256.New, key, salt, string(sealContext(c)), 64)
	if err != nil {
		return nil, nil, err
	}
	defer guard.Wipe(okm[:32])
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, okm[32:], err
}
