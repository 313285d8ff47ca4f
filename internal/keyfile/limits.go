package keyfile

import (
	"math"
	"math/bits"

	"vigil/internal/keypair"
)

// Limits on what a file may hold or ask for. A file beyond them is ErrTooLarge
// (for key sizes: an UnsupportedError) before memory or time is spent on it. Times
// are for one core of the 2020s. The limits are far above the tools' defaults, so
// that a patient user's file opens and a hostile one is refused.
const (
	// MaxFile is the size of a key file in bytes. The largest real one, RSA 8192
	// in PKCS#8, has under 8 KiB; certificates and text may surround a PEM key.
	MaxFile = 64 << 10

	// MaxComment is the longest comment kept, in bytes; a longer one is truncated.
	MaxComment = 1024

	// MaxPassphrase is the longest passphrase of a file, in bytes (ssh-keygen
	// takes 1,023).
	MaxPassphrase = 4096

	// MinRSABits and MaxRSABits bound an RSA modulus.
	MinRSABits = keypair.MinRSABits
	MaxRSABits = keypair.MaxRSABits
	// DefaultRSABits is ssh-keygen's default.
	DefaultRSABits = 3072

	// MaxSalt is the longest salt of a passphrase's key derivation, in bytes;
	// tools write 8 to 32.
	MaxSalt = 1024

	// BcryptRounds is the cost of files written here, ssh-keygen's default since
	// OpenSSH 9.4 (before: 16). It takes a fifth of a second.
	BcryptRounds = 24
	// MaxBcryptRounds bounds ssh-keygen -a of a file that is read: half a minute.
	MaxBcryptRounds = 4096

	// MaxPBKDF2Iterations bounds PKCS#8's usual derivation: ten seconds. OpenSSL
	// writes 2,048, password managers up to 1,000,000.
	MaxPBKDF2Iterations = 10_000_000

	// MaxScryptMemory bounds 128·N·r, in bytes. OpenSSL writes 16 MiB.
	MaxScryptMemory = 1 << 30
	// MaxScryptWork bounds N·r·p: 15 seconds. OpenSSL writes 2^17.
	MaxScryptWork = 1 << 25

	// MaxArgon2Memory bounds a .ppk's Argon2-Memory, in KiB. PuTTYgen writes 8,192.
	MaxArgon2Memory = 1 << 20
	// MaxArgon2Passes bounds Argon2-Passes. PuTTYgen writes what takes 0.1 s: 10 to 40.
	MaxArgon2Passes = 10_000
	// MaxArgon2Work bounds memory in KiB times passes: half a minute.
	MaxArgon2Work = 16 << 20
	// MaxArgon2Parallelism bounds Argon2-Parallelism. PuTTYgen writes 1.
	MaxArgon2Parallelism = 16
)

// saturatingMul returns a·b, or the largest uint64.
func saturatingMul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}
