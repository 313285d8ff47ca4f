// Package policy decides what a key may be used for. Decisions are pure: they
// see plain structs and the time, do no I/O and verify no signature.
//
// A decision is an error: nil permits, and any other error is a short sentence with
// the reason, for `vigilctl why`. It is never sent to the client.
package policy
