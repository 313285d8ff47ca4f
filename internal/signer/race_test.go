//go:build race

package signer

// raceBuild says that the race detector is linked in.
const raceBuild = true
