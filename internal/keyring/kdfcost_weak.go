//go:build weakkdf

package keyring

// The suites below test/ unlock some thousands of times, and are about other
// things than what that costs: with the limits of the format, Argon2id is half of
// their work. Tests and the binaries that they build have this tag together or
// not at all; `vigilctl status` warns of such a build.
const (
	MinKDFMemory = 1 << 10 // KiB
	MinKDFTime   = 1       // passes

	defaultKDFMemory = MinKDFMemory
)

// WeakKDF says that this build takes an Argon2id that costs next to nothing.
const WeakKDF = true
