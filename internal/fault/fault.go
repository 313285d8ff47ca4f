// Package fault says what a failed call to a master key or a keyring store means to
// its caller: one error for both, whichever service or file is behind them.
package fault

import "errors"

// Kinds of failure. A caller branches on them with errors.Is.
var (
	// ErrRevoked: the master key is disabled or pending deletion. Clear and final
	// until an administrator acts: lock at once and wipe the offline share.
	ErrRevoked = errors.New("revoked")
	// ErrDenied: the service refused this caller. Lock at once; wipe the offline
	// share when it repeats under the same Error.Caller.
	ErrDenied = errors.New("access denied")
	// ErrUnreachable: no answer, or a temporary one. Continue until the lease ends.
	ErrUnreachable = errors.New("unreachable")
	// ErrSignIn: nobody is signed in, and a person can do that: an expired SSO
	// session, an MFA code that nobody was there to type. It is ErrUnreachable, too.
	ErrSignIn = errors.New("sign in needed")
	// ErrMisconfigured: the answer says that the request was wrong: another key,
	// bucket, region or context, a damaged wrapped share, a store that ignores
	// conditions, a clock that is far off.
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
	Of        string // whose failure it is: "master key" or "keyring store"
	Op        string // what was asked for: "Decrypt", "put deks", …
	Code      string // the service's own name of the error, empty if there is none
	RequestID string // the service's id of the request, empty if it never answered
	Caller    string // the identity that was refused, where it is known
	Next      string // what to do about it, one sentence for a person; may be empty
	Err       error  // the cause; may be nil
}

// Error says what failed, why, and under which request id. It leaves Next to the
// caller, which shows it apart.
func (e *Error) Error() string {
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
