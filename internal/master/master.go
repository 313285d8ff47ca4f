// Package master describes the master key: the root of every vault's key
// hierarchy.
//
// A master key does one job. It makes the share of an identity, 32 random bytes
// that together with the passphrase open that identity, and returns it twice: in
// plaintext in guarded memory, and wrapped for storage. Later it unwraps the
// wrapped share. The implementations are master/awskms (AWS KMS: the key never
// leaves the service) and master/local (a device key file).
//
// The package holds what both have in common, and does no I/O, so the resident
// processes can parse a URI and classify an error without linking an SDK.
package master

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
)

// Name is what a person calls it, in a fault.Error.
const Name = "master key"

// LocalFile is the name of the local master key's file in the device folder.
const LocalFile = "master.key"

// ShareSize is the size in bytes of the share that a master key generates.
const ShareSize = 32

// MaxWrapped is the largest size of a wrapped share in a keyring, in bytes. AWS
// KMS accepts ciphertexts of up to 6,144 bytes; a wrapped share has less than 300.
const MaxWrapped = 6144

// Purposes of a share. They are part of the encryption context, so an IAM policy
// can distinguish them.
const (
	// PurposeUnlock is the share of an identity whose passphrase a person types.
	PurposeUnlock = "unlock"
	// PurposeUnattended is the share of an identity whose passphrase a machine
	// reads from a file.
	PurposeUnattended = "unattended"
	// PurposeRecovery is the share of a recovery code.
	PurposeRecovery = "recovery"
)

// Names of the encryption context's members, as used in IAM conditions
// (kms:EncryptionContext:vigil:vault) and in CloudTrail.
const (
	ContextVault    = "vigil:vault"
	ContextIdentity = "vigil:identity"
	ContextPurpose  = "vigil:purpose"
)

// Context identifies the share that a call is about. The master key binds the
// wrapped share to it: with another context, decryption fails. It holds only
// opaque ids, because AWS writes it in plaintext to CloudTrail.
type Context struct {
	Vault    [32]byte
	Identity [16]byte
	Purpose  string // one of the Purpose constants
}

// Fields returns the encryption context in AWS KMS's form: ids in base64url without
// padding.
func (c Context) Fields() map[string]string {
	return map[string]string{
		ContextVault:    base64.RawURLEncoding.EncodeToString(c.Vault[:]),
		ContextIdentity: base64.RawURLEncoding.EncodeToString(c.Identity[:]),
		ContextPurpose:  c.Purpose,
	}
}

// Validate reports a context that names no vault, no identity or an unknown
// purpose. It is a programming error to use one.
func (c Context) Validate() error {
	switch {
	case c.Vault == [32]byte{}:
		return errors.New("encryption context names no vault")
	case c.Identity == [16]byte{}:
		return errors.New("encryption context names no identity")
	}
	switch c.Purpose {
	case PurposeUnlock, PurposeUnattended, PurposeRecovery:
		return nil
	}
	return fmt.Errorf("encryption context has the unknown purpose %.32q", c.Purpose)
}

// Key is one master key. Its implementations are *local.Key and *awskms.Key.
//
// dst is always ShareSize bytes of the caller's guarded memory. The caller wipes
// it; a call that fails leaves it wiped. Every error that is not misuse is a
// *fault.Error.
type Key interface {
	// Generate makes a new share in dst and returns it wrapped.
	Generate(ctx context.Context, dst []byte, c Context) (wrapped []byte, err error)
	// Decrypt unwraps a share into dst.
	Decrypt(ctx context.Context, dst, wrapped []byte, c Context) error
	// Rewrap moves a share to the master key that to names, without its
	// plaintext leaving the master key. Between different kinds of master key
	// that is impossible, and fails with fault.ErrMisconfigured: the identity then
	// needs a new share, and its passphrase.
	Rewrap(ctx context.Context, wrapped []byte, c Context, to URI) ([]byte, error)
	// Check checks that the key exists and is usable, and describes it.
	Check(ctx context.Context) (Description, error)
	// Calls returns the number of requests made so far.
	Calls() Calls
}

// Description is what Check found about a master key.
type Description struct {
	// URI names the key unambiguously: an alias is resolved to the key's ARN.
	URI URI
	// Detail is one line for a person: key id, kind, multi-region or not.
	Detail string
}

// Calls counts requests to a key management service: Operations is the number of
// calls, and Attempts the number of requests sent for them, including retries.
type Calls struct {
	Operations uint64 `json:"operations"`
	Attempts   uint64 `json:"attempts"`
}
