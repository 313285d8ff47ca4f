package keyfile

import (
	"crypto/sha512"
	"encoding/binary"

	"golang.org/x/crypto/blowfish" //lint:ignore SA1019 bcrypt_pbkdf is made of it

	"vigil/internal/guard"
)

// bcryptBlock is the size of the output of bcrypt_pbkdf's hash, in bytes.
const bcryptBlock = 32

// bcryptPBKDF derives size bytes from a passphrase like OpenBSD's bcrypt_pbkdf(3),
// with which OpenSSH encrypts its key files (x/crypto doesn't export its own).
// passphrase and salt must not be empty, and rounds must be at least 1. The caller
// wipes the result.
func bcryptPBKDF(passphrase, salt []byte, rounds uint32, size int) []byte {
	blocks := (size + bcryptBlock - 1) / bcryptBlock
	key := make([]byte, blocks*bcryptBlock)
	shaPass := sha512.Sum512(passphrase)
	defer guard.Wipe(shaPass[:])
	var tmp, out [bcryptBlock]byte
	defer func() { guard.Wipe(tmp[:]); guard.Wipe(out[:]) }()

	for block := range blocks {
		count := binary.BigEndian.AppendUint32(nil, uint32(block+1))
		shaSalt := sha512.Sum512(append(append([]byte(nil), salt...), count...))
		bcryptHash(&tmp, shaPass[:], shaSalt[:])
		out = tmp
		for range rounds - 1 {
			shaSalt = sha512.Sum512(tmp[:])
			bcryptHash(&tmp, shaPass[:], shaSalt[:])
			for i := range out {
				out[i] ^= tmp[i]
			}
		}
		guard.Wipe(shaSalt[:])
		for i, v := range out { // the blocks are interleaved byte by byte
			key[i*blocks+block] = v
		}
	}
	guard.Wipe(key[size:])
	return key[:size]
}

// bcryptHash is bcrypt with 64 rounds of key expansion and a fixed text of 32 bytes.
func bcryptHash(out *[bcryptBlock]byte, shaPass, shaSalt []byte) {
	// The only error is a key of the wrong length, and a SHA-512 isn't one.
	c, err := blowfish.NewSaltedCipher(shaPass, shaSalt)
	if err != nil {
		panic(err)
	}
	for range 64 {
		blowfish.ExpandKey(shaSalt, c)
		blowfish.ExpandKey(shaPass, c)
	}
	copy(out[:], "OxychromaticBlowfishSwatDynamite")
	for i := 0; i < bcryptBlock; i += blowfish.BlockSize {
		for range 64 {
			c.Encrypt(out[i:i+8], out[i:i+8])
		}
	}
	for i := 0; i < bcryptBlock; i += 4 { // words are little-endian in the result
		out[i], out[i+1], out[i+2], out[i+3] = out[i+3], out[i+2], out[i+1], out[i]
	}
	*c = blowfish.Cipher{}
}
