//go:build !weakkdf

package keyring

// What a guess at a passphrase costs at the least.
const (
	MinKDFMemory = 64 << 10 // KiB
	MinKDFTime   = 3        // passes

	defaultKDFMemory = 256 << 10 // KiB
)

// WeakKDF says that this build takes an Argon2id that costs next to nothing.
const WeakKDF = false
