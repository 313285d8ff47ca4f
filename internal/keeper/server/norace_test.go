//go:build !race

package server

// raceBuild says that the race detector is linked in.
const raceBuild = false
