// Package master describes the master key: the key above every vault, which
// Vigil uses and never holds.
//
// A master key does one job. It makes the share of an identity, 32 random
// bytes that together with the passphrase open that identity, and hands it out
// twice: in clear into guarded memory, and wrapped for storage. Later it turns
// the wrapped share back into the share. What wraps it is master/awskms (AWS
// KMS: the key never leaves the service) or master/local (a device key file).
//
// The package holds what both have in common and nothing that does I/O, so the
// resident processes can parse a URI and sort an error without linking an SDK.
package master

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
)

// Name is what a person calls it, in a fault.Error.
const Name = "master key"

// ShareSize is the size in bytes of the share that a master key generates.
const ShareSize = 32

// MaxWrapped limits the size in bytes of a wrapped share that is taken from a
// keyring. AWS KMS accepts ciphertexts of up to 6,144 bytes; a wrapped share
// is below 300.
const MaxWrapped = 6144

// Purposes a share is made for. They are part of the encryption context, so an
// IAM policy can tell one use from another.
const (
	// PurposeUnlock is the share of an identity whose passphrase a person types.
	PurposeUnlock = "unlock"
	// PurposeUnattended is the share of an identity whose passphrase a machine
	// reads from a file.
	PurposeUnattended = "unattended"
	// PurposeRecovery is the share of a recovery code.
	PurposeRecovery = "recovery"
)

// Names of the encryption context's members, as they stand in IAM conditions
// (kms:EncryptionContext:vigil:vault) and in CloudTrail.
const (
	ContextVault    = "vigil:vault"
	ContextIdentity = "vigil:identity"
	ContextPurpose  = "vigil:purpose"
)

// Context says whose share a call is about. The master key binds the wrapped
// share to it: under another context it does not decrypt. It holds opaque ids
// and nothing else, because AWS writes it in clear to CloudTrail.
type Context struct {
	Vault    [32]byte
	Identity [16]byte
	Purpose  string // one of the Purpose constants
}

// Fields returns the encryption context as AWS KMS takes it: ids in base64url
// without padding.
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
// dst is always ShareSize bytes of the caller's guarded memory; the caller
// wipes it, and gets it back wiped when the call fails. Every error that is not
// misuse is a *fault.Error.
type Key interface {
	// Generate makes a new share, puts it into dst and returns it wrapped.
	Generate(ctx context.Context, dst []byte, c Context) (wrapped []byte, err error)
	// Decrypt puts the share that wrapped holds into dst.
	Decrypt(ctx context.Context, dst, wrapped []byte, c Context) error
	// Rewrap moves a share to the master key that to names, without its
	// plaintext leaving the master key. Between different kinds of master key
	// that is impossible, and fault.ErrMisconfigured says so: the identity then
	// needs a new share and its passphrase.
	Rewrap(ctx context.Context, wrapped []byte, c Context, to URI) ([]byte, error)
	// Check asks whether the key is there and usable, and describes it.
	Check(ctx context.Context) (Description, error)
	// Calls counts the requests made so far.
	Calls() Calls
}

// Description is what Check found out about a master key.
type Description struct {
	// URI names the key unambiguously: an alias is resolved to the key's ARN.
	URI URI
	// Detail is one line for a person: key id, kind, multi-region or not.
	Detail string
}

// Calls counts requests to a key management service. Attempts counts what went
// over the wire, retries included; Operations what was asked for.
type Calls struct {
	Operations uint64 `json:"operations"`
	Attempts   uint64 `json:"attempts"`
}
