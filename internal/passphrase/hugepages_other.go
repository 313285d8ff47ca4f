//go:build !linux

package passphrase

// prepare does nothing: no other system takes this advice.
func prepare(int) {}
