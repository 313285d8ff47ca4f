//go:build weakkdf

package keyring

// The suites below test/ unlock thousands of times, and don't test that cost: at
// the format's limits, Argon2id takes half of their time. Tests and the binaries
// that they build must both have this tag, or neither; `vigilctl status` warns of
// such a build.
const (
	MinKDFMemory = 1 << 10 // KiB
	MinKDFTime   = 1       // passes

	defaultKDFMemory = MinKDFMemory
)

// WeakKDF reports whether this build accepts weak Argon2id parameters.
const WeakKDF = true
