// Package keypair checks that the numbers of a private key make a key that signs: that
// they are in range, that the size is supported, and that the private half belongs to
// the public one. The import of files and the agent share it, so that both accept the
// same keys.
//
// It copies what is secret from the caller's memory into a guard.Slab, once, and
// computes inside guard.Do. No error contains key material.
package keypair

import (
	"bytes"
	"errors"
)

var (
	// ErrUnsupported reports a key of a type or size that Vigil doesn't sign with.
	ErrUnsupported = errors.New("not supported")
	// ErrMalformed reports numbers that no key has.
	ErrMalformed = errors.New("key is malformed")
	// ErrMismatch reports a private half that doesn't belong to its public half. By
	// signing, such a pair can reveal the key.
	ErrMismatch = errors.New("private and public half don't belong together")
)

// trim returns the big-endian magnitude m without leading zeros.
func trim(m []byte) []byte { return bytes.TrimLeft(m, "\x00") }
