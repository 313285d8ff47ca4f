// Package backend describes where a keyring is stored: two objects, members
// and deks, each replaced as a whole and only by a writer that has seen the
// version it replaces.
//
// A backend needs no trust for secrecy or origin: what it stores is sealed,
// signed and under a MAC, and the readers check that. It is trusted to keep
// what it acknowledged, and compare-and-swap is all that Vigil asks of it.
//
// The package does no I/O; backend/file and backend/s3 do.
package backend

import (
	"context"
	"errors"
	"fmt"
)

// Object names one of the two stored objects of a keyring. It is the file's
// name, or the end of the S3 key, too.
type Object string

// The objects of a keyring.
const (
	Members Object = "members"
	Deks    Object = "deks"
)

// Validate refuses any object but the two.
func (o Object) Validate() error {
	if o != Members && o != Deks {
		return fmt.Errorf("unknown keyring object %.32q", string(o))
	}
	return nil
}

// Version is a backend's name of one content of an object: an ETag, or a hash.
// It is opaque, compared for equality only and never decoded; the zero value
// means that there is no object.
type Version string

// MaxObject limits the size in bytes of an object, read or written. A member
// takes about 5 KiB of members and a revision about 400 bytes of deks, so
// this is room for 10,000 members, or for 150,000 revisions.
const MaxObject = 64 << 20

// Store keeps the objects of one keyring. Its implementations are *file.Store
// and *s3.Store. Every error that is not misuse is an *Error.
type Store interface {
	// Get returns an object and its version. With a non-zero have it returns
	// ErrNotModified, and no data, when that is still the version.
	Get(ctx context.Context, object Object, have Version) ([]byte, Version, error)
	// Put replaces an object if its version is still expect; a zero expect
	// means that the object must not exist. It returns the new version once
	// the store has it durably. ErrConflict means that another writer was
	// first and nothing was changed: read again, merge, retry. After any
	// other error the object may or may not have been replaced.
	Put(ctx context.Context, object Object, data []byte, expect Version) (Version, error)
	// Probe proves that the store can be read and written and keeps
	// compare-and-swap, on an object of its own that it leaves there. What
	// isn't so is an *Error that says what to do.
	Probe(ctx context.Context) error
	// Retention tells which replaced contents the store keeps.
	Retention(ctx context.Context) (Retention, error)
}

// Retention tells how long a store keeps contents that were replaced. A DEK is
// gone for good only when these are gone too.
type Retention struct {
	// Versioned says that replaced contents are kept at all.
	Versioned bool
	// Generations is how many are kept whatever their age. With Days 0 they
	// are all that is kept; with both 0 there is no limit.
	Generations int
	// Days is how many days the others are kept.
	Days int
	// Unknown says why the store couldn't tell, in words for a person.
	Unknown string
}

// Forever reports whether replaced contents are kept without any limit.
func (r Retention) Forever() bool {
	return r.Versioned && r.Generations == 0 && r.Days == 0 && r.Unknown == ""
}

// Kinds of failure. A caller branches on them with errors.Is.
var (
	ErrNotFound    = errors.New("object not found")
	ErrNotModified = errors.New("object not modified")
	// ErrConflict: the object is not at the expected version; nothing was written.
	ErrConflict = errors.New("another writer was first")
	// ErrTooLarge: the object exceeds MaxObject.
	ErrTooLarge = errors.New("object too large")
	// ErrDenied: the store refused this caller.
	ErrDenied = errors.New("access to the keyring store denied")
	// ErrUnreachable: no answer, or a temporary one.
	ErrUnreachable = errors.New("keyring store unreachable")
	// ErrMisconfigured: the answer says that the request was wrong: no such
	// bucket, another region, a store that ignores conditions, a clock far off.
	ErrMisconfigured = errors.New("keyring store misconfigured")
	// ErrSignIn marks an ErrUnreachable that a person ends by signing in.
	ErrSignIn = errors.New("sign in needed")
)

// MaxRaces is how often Compete starts a change again.
const MaxRaces = 64

// ErrRaces reports a change that another writer was ahead of MaxRaces times.
var ErrRaces = fmt.Errorf("other writers were first %d times", MaxRaces)

// Compete makes a change by compare-and-swap: try makes it of what was read last and
// stores it. When another writer was first (ErrConflict), catchUp reads what that one
// stored, and try runs again.
func Compete(try, catchUp func() error) error {
	for range MaxRaces {
		err := try()
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := catchUp(); err != nil {
			return err
		}
	}
	return ErrRaces
}

// Error is a failed call to a store.
type Error struct {
	Kind      error // one of the kinds above, but not ErrSignIn
	SignIn    bool  // the kind is ErrUnreachable because nobody is signed in
	Op        string
	Object    Object // empty for Retention
	Code      string // the service's own name of the error, empty if there is none
	RequestID string // the service's id of the request, empty if it never answered
	Caller    string // the identity that was refused, where it is known
	Next      string // what to do about it, one sentence for a person; may be empty
	Err       error  // the cause; may be nil
}

// Error says what failed, on which object, why, and under which request id.
func (e *Error) Error() string {
	s := e.Op
	if e.Object != "" {
		s += " " + string(e.Object)
	}
	if e.SignIn {
		s += ": " + ErrSignIn.Error()
	} else {
		s += ": " + e.Kind.Error()
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
