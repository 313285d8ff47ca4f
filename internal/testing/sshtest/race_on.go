//go:build race

package sshtest

// RaceEnabled reports whether the tests and their binaries have the race detector.
const RaceEnabled = true
