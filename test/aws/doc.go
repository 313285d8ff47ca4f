// Package aws drives Vigil's binaries against AWS as the emulators of this
// repository play it: the master key in KMS, the keyring in S3, and everything
// that goes wrong there. It holds tests only.
package aws
