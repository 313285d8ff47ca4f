//go:build !race

package sshtest

// RaceEnabled says that the tests, and so the binaries they start, have the race detector.
const RaceEnabled = false
