//go:build !race && linux

package sandbox

// raceBuild says that the race detector is linked in.
const raceBuild = false
