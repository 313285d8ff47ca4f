//go:build race && linux

package sandbox

// raceBuild reports whether the race detector is linked in.
const raceBuild = true
