//go:build !weakkdf

package keyring

// Lower bounds of Argon2id's parameters: what a guess at a passphrase must cost.
const (
	MinKDFMemory = 64 << 10 // KiB
	MinKDFTime   = 3        // passes

	defaultKDFMemory = 256 << 10 // KiB
)

// WeakKDF reports whether this build accepts weak Argon2id parameters.
const WeakKDF = false
