// Package fault defines the error of a failed call to a master key or a keyring
// store, whichever service or file implements it, and knows what a person does about
// the errors of the system.
package fault

import (
	"errors"
	"strings"
)

// Kinds of failure. A caller branches on them with errors.Is.
var (
	// ErrRevoked: the master key is disabled or pending deletion until an
	// administrator acts. Lock at once and wipe the offline share.
	ErrRevoked = errors.New("revoked")
	// ErrDenied: the service refused this caller. Lock at once; wipe the offline
	// share if it happens again with the same Error.Caller.
	ErrDenied = errors.New("access denied")
	// ErrUnreachable: no answer, or a temporary error. Continue until the lease ends.
	ErrUnreachable = errors.New("unreachable")
	// ErrSignIn: a person must sign in: the SSO session has expired, or an MFA code
	// is needed. It is also ErrUnreachable.
	ErrSignIn = errors.New("sign in needed")
	// ErrMisconfigured: the request was wrong: another key, bucket, region or context, a
	// damaged wrapped share, a store that ignores conditions, or a clock that is far off.
	ErrMisconfigured = errors.New("misconfigured")

	// ErrNotFound: the store has no such object.
	ErrNotFound = errors.New("object not found")
	// ErrNotModified: the object is at the version that the caller has.
	ErrNotModified = errors.New("object not modified")
	// ErrConflict: the object isn't at the expected version; nothing was written.
	ErrConflict = errors.New("another writer was first")
	// ErrTooLarge: the object exceeds backend.MaxObject.
	ErrTooLarge = errors.New("object too large")
)

// Error is a failed call.
type Error struct {
	Kind      error  // one of the kinds above
	Of        string // what was called: "master key" or "keyring store"
	Op        string // the operation: "Decrypt", "put deks", …
	Code      string // the service's own name for the error, or empty
	RequestID string // the service's id of the request; empty if it never answered
	Caller    string // the identity that was refused, if known
	Next      string // what to do about it, one sentence for a person; may be empty
	Err       error  // the cause; may be nil
}

// Error returns what failed, why, and the request id, but not Next, which the caller
// shows separately.
func (e *Error) Error() string {
	if object, got := strings.CutPrefix(e.Op, "get "); got && e.Kind == ErrNotFound {
		return "the " + e.Of + " has no " + object
	}
	s := e.Op + ": "
	switch e.Kind {
	case ErrDenied:
		s += "access to the " + e.Of + " denied"
	case ErrRevoked, ErrUnreachable, ErrMisconfigured:
		s += e.Of + " " + e.Kind.Error()
	default:
		s += e.Kind.Error()
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
	if e.Kind == ErrSignIn {
		errs = append(errs, ErrUnreachable)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
