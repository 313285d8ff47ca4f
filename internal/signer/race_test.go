//go:build race

package signer

// raceDetector: the race detector allocates for what it watches.
const raceDetector = true
