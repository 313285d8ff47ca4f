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
// misuse is an *Error.
type Key interface {
	// Generate makes a new share, puts it into dst and returns it wrapped.
	Generate(ctx context.Context, dst []byte, c Context) (wrapped []byte, err error)
	// Decrypt puts the share that wrapped holds into dst.
	Decrypt(ctx context.Context, dst, wrapped []byte, c Context) error
	// Rewrap moves a share to the master key that to names, without its
	// plaintext leaving the master key. Between different kinds of master key
	// that is impossible, and ErrMisconfigured says so: the identity then
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

// Kinds of failure. A caller branches on them with errors.Is.
var (
	// ErrRevoked: the key is disabled or pending deletion. Clear and final
	// until an administrator acts: lock at once and wipe the offline share.
	ErrRevoked = errors.New("master key revoked")
	// ErrDenied: the service refused this caller. Lock at once; wipe the
	// offline share when it repeats under the same Error.Caller.
	ErrDenied = errors.New("access to the master key denied")
	// ErrUnreachable: no answer, or a temporary one. Go on until the lease ends.
	ErrUnreachable = errors.New("master key unreachable")
	// ErrMisconfigured: an answer that says the request was wrong: another
	// key, region or context, a damaged wrapped share, a clock far off.
	ErrMisconfigured = errors.New("master key misconfigured")
	// ErrSignIn marks an ErrUnreachable that a person ends by signing in: an
	// expired SSO session, an MFA code that nobody was there to type.
	ErrSignIn = errors.New("sign in needed")
)

// Error is a failed call to a master key.
type Error struct {
	Kind      error  // ErrRevoked, ErrDenied, ErrUnreachable or ErrMisconfigured
	SignIn    bool   // the kind is ErrUnreachable because nobody is signed in
	Op        string // what was asked for: "GenerateDataKey", "Decrypt", …
	Code      string // the service's own name of the error, empty if there is none
	RequestID string // the service's id of the request, empty if it never answered
	Caller    string // the identity that was refused, where the service named it
	Next      string // what to do about it, one sentence for a person
	Err       error  // the cause
}

// Error says what failed, why, and under which request id. It leaves Next to
// the caller, which shows it apart.
func (e *Error) Error() string {
	s := e.Op + ": " + e.Kind.Error()
	if e.SignIn {
		s = e.Op + ": " + ErrSignIn.Error()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.RequestID != "" {
		s += " (request id " + e.RequestID + ")"
	}
	return s
}

// Unwrap returns the kind and the cause, so that errors.Is finds both.
func (e *Error) Unwrap() []error {
	errs := []error{e.Kind}
	if e.SignIn {
		errs = append(errs, ErrSignIn)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
