// Package crash kills the real binaries and fails their disks, and then looks
// whether anything is gone that a command had reported as saved.
//
// A ledger writes down what vigilctl said: exit status 0 makes a promise, any
// other end leaves both outcomes open. After each kill the daemon is started
// and unlocked again, everything listed must match the ledger, and every key
// must sign. Two devices of one vault go through the same, with what the first
// wrote coming to the second in one order or the other. docs/durability.md says
// what has been shown.
//
// By default the tests are a sample; `make crash` and `make crash-long` are
// whole runs. The seed is printed, and -seed repeats its choices.
package crash
