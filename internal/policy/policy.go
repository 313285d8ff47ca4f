// Package policy decides what a key may be used for. Decisions are pure: they
// see plain structs and the time, do no I/O and verify no signature.
//
// A decision is an error: nil permits, anything else is a short sentence that
// says why not, for `vigilctl why`. It never goes on the wire.
package policy
