//go:build !race

package keeper

// raceBuild says that the race detector is linked in.
const raceBuild = false
