package keyfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rc4"

	"golang.org/x/crypto/blowfish" //lint:ignore SA1019 existing files use it
	"golang.org/x/crypto/cast5"    //lint:ignore SA1019 existing files use it
	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/poly1305" //lint:ignore SA1019 chacha20-poly1305@openssh.com is no RFC 8439 AEAD

	"vigil/internal/guard"
)

// An opensshCipher is a cipher of OpenSSH's cipher.c that ssh-keygen -Z accepts.
type opensshCipher struct {
	name       string
	key, iv    int // bytes
	block, tag int // bytes

	// open decrypts text in place; ok is false if the tag is wrong. The caller has
	// checked the lengths. It is nil for the cipher "none".
	open func(key, iv, text, tag []byte) (ok bool, err error)
}

// opensshCiphers are all the ciphers OpenSSH has supported since the format was
// introduced. It dropped Blowfish, CAST and RC4 in 7.6, so that no tool of today rewrites
// such a file: they are read here.
var opensshCiphers = [...]opensshCipher{
	{name: "none", block: 8},
	{name: "aes256-ctr", key: 32, iv: 16, block: 16, open: openCTR},
	{name: "aes192-ctr", key: 24, iv: 16, block: 16, open: openCTR},
	{name: "aes128-ctr", key: 16, iv: 16, block: 16, open: openCTR},
	{name: "aes256-cbc", key: 32, iv: 16, block: 16, open: openAESCBC},
	{name: "aes192-cbc", key: 24, iv: 16, block: 16, open: openAESCBC},
	{name: "aes128-cbc", key: 16, iv: 16, block: 16, open: openAESCBC},
	{name: "rijndael-cbc@lysator.liu.se", key: 32, iv: 16, block: 16, open: openAESCBC},
	{name: "3des-cbc", key: 24, iv: 8, block: 8, open: open3DESCBC},
	{name: "blowfish-cbc", key: 16, iv: 8, block: 8, open: openBlowfishCBC},
	{name: "cast128-cbc", key: 16, iv: 8, block: 8, open: openCAST128CBC},
	{name: "arcfour", key: 16, iv: 8, block: 8, open: openRC4},
	{name: "arcfour128", key: 16, iv: 8, block: 8, open: openRC4Late},
	{name: "arcfour256", key: 32, iv: 8, block: 8, open: openRC4Late},
	{name: "aes256-gcm@openssh.com", key: 32, iv: 12, block: 16, tag: 16, open: openGCM},
	{name: "aes128-gcm@openssh.com", key: 16, iv: 12, block: 16, tag: 16, open: openGCM},
	{name: "chacha20-poly1305@openssh.com", key: 64, block: 8, tag: poly1305.TagSize, open: openChaChaPoly},
}

func opensshCipherByName(name []byte) *opensshCipher {
	for i := range opensshCiphers {
		if opensshCiphers[i].name == string(name) {
			return &opensshCiphers[i]
		}
	}
	return nil
}

func openCTR(key, iv, text, _ []byte) (bool, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return false, err
	}
	cipher.NewCTR(b, iv).XORKeyStream(text, text)
	return true, nil
}

func openAESCBC(key, iv, text, _ []byte) (bool, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return false, err
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(text, text)
	return true, nil
}

func open3DESCBC(key, iv, text, _ []byte) (bool, error) {
	b, err := des.NewTripleDESCipher(key)
	if err != nil {
		return false, err
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(text, text)
	return true, nil
}

func openBlowfishCBC(key, iv, text, _ []byte) (bool, error) {
	b, err := blowfish.NewCipher(key)
	if err != nil {
		return false, err
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(text, text)
	return true, nil
}

func openCAST128CBC(key, iv, text, _ []byte) (bool, error) {
	b, err := cast5.NewCipher(key)
	if err != nil {
		return false, err
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(text, text)
	return true, nil
}

func openRC4(key, _, text, _ []byte) (bool, error) {
	c, err := rc4.NewCipher(key)
	if err != nil {
		return false, err
	}
	c.XORKeyStream(text, text)
	return true, nil
}

// openRC4Late skips the beginning of the stream (RFC 4345 section 4).
func openRC4Late(key, _, text, _ []byte) (bool, error) {
	c, err := rc4.NewCipher(key)
	if err != nil {
		return false, err
	}
	var skipped [1536]byte
	c.XORKeyStream(skipped[:], skipped[:])
	c.XORKeyStream(text, text)
	return true, nil
}

func openGCM(key, iv, text, tag []byte) (bool, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return false, err
	}
	aead, err := cipher.NewGCM(b)
	if err != nil {
		return false, err
	}
	sealed := append(append(make([]byte, 0, len(text)+len(tag)), text...), tag...)
	_, err = aead.Open(text[:0], iv, sealed, nil)
	return err == nil, nil
}

// openChaChaPoly is cipher-chachapoly.c with no additional data and sequence
// number 0. It uses only the first half of the key: block 0 of its stream is the
// Poly1305 key, and the text starts at block 1 (PROTOCOL.chacha20poly1305).
func openChaChaPoly(key, _, text, tag []byte) (bool, error) {
	stream, err := chacha20.NewUnauthenticatedCipher(key[:chacha20.KeySize], make([]byte, chacha20.NonceSize))
	if err != nil {
		return false, err
	}
	var polyKey [32]byte
	defer guard.Wipe(polyKey[:])
	stream.XORKeyStream(polyKey[:], polyKey[:])
	var want [poly1305.TagSize]byte
	poly1305.Sum(&want, text, &polyKey)
	if !sameSecret(want[:], tag) {
		return false, nil
	}
	stream.SetCounter(1)
	stream.XORKeyStream(text, text)
	return true, nil
}
