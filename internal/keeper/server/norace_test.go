//go:build !race

package server

// raceBuild reports whether the race detector is linked in.
const raceBuild = false
