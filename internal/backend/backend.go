// Package backend describes where a keyring is stored: two objects, members
// and deks, each replaced as a whole and only by a writer that has seen the
// version it replaces.
//
// A backend need not be trusted for secrecy or authenticity: what it stores is
// sealed, signed and under a MAC, and readers check that. It is trusted to keep
// what it has acknowledged. Compare-and-swap is all that Vigil requires of it.
//
// The package does no I/O; backend/file and backend/s3 do.
package backend

import (
	"context"
	"fmt"
)

// Name is what a person calls a backend, in a [fault.Error].
const Name = "keyring store"

// Object names one of the two stored objects of a keyring. It is also the file's
// name, or the end of the S3 key.
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

// MaxObject is the largest size of an object, in bytes. An identity takes about
// 5 KiB of members and a revision about 400 bytes of deks, so this is room for
// 10,000 identities or 150,000 revisions.
const MaxObject = 64 << 20

// Store keeps the objects of one keyring. Its implementations are *file.Store
// and *s3.Store. Every error that is not misuse is a *fault.Error.
type Store interface {
	// Get returns an object and its version. If have is non-zero and still the
	// version, it returns fault.ErrNotModified and no data.
	Get(ctx context.Context, object Object, have Version) ([]byte, Version, error)
	// Put replaces an object if its version is still expect; a zero expect
	// means that the object must not exist. It returns the new version once
	// the store has the data durably. fault.ErrConflict means that another writer
	// was first and nothing was changed: read again, merge, retry. After any
	// other error the object may or may not have been replaced.
	Put(ctx context.Context, object Object, data []byte, expect Version) (Version, error)
	// Probe checks that the store can be read and written and supports
	// compare-and-swap, using an object of its own, which it leaves there. A
	// failed check is a *fault.Error that says what to do.
	Probe(ctx context.Context) error
	// Retention returns which replaced contents the store keeps.
	Retention(ctx context.Context) (Retention, error)
}

// Retention describes how long a store keeps replaced contents. A DEK is destroyed
// only once they are gone too.
type Retention struct {
	// Versioned reports whether replaced contents are kept at all.
	Versioned bool
	// Generations is how many are kept regardless of age. If Days is 0, no
	// others are kept; if both are 0, there is no limit.
	Generations int
	// Days is for how many days the others are kept.
	Days int
	// Unknown says, for a person, why the retention is unknown.
	Unknown string
}

// Forever reports whether replaced contents are kept without any limit.
func (r Retention) Forever() bool {
	return r.Versioned && r.Generations == 0 && r.Days == 0 && r.Unknown == ""
}

// Keyring is both objects of a keyring, and a store's versions of them. An object that
// wasn't requested, or hasn't changed, is nil.
type Keyring struct {
	Members        []byte  `json:"-"`
	MembersVersion Version `json:"members_version"`
	Deks           []byte  `json:"-"`
	DeksVersion    Version `json:"deks_version"`
}
