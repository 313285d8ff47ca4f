// Package refresh decides what to do after a check of a vault's backend and master
// key: continue, lock, or lock and forget the share for offline use. It is pure;
// package vault carries out its decisions.
//
//	outcome       vault    share kept for offline use     lease
//	proved        goes on  kept                            restarts
//	reached       goes on  kept                            runs on
//	unreachable   goes on  kept                            runs on
//	denied        locks    forgotten when it repeats under
//	                       the same caller                 ends
//	revoked       locks    forgotten                       ends
//
// A lease restarts at the moment when the proof was requested, regardless of what was
// reached since.
package refresh

import (
	"math/rand/v2"
	"time"
)

// Outcome is the result of a check.
type Outcome int

// The outcomes.
const (
	// Proved: the backend answered, and after it the master key decrypted this
	// identity's share.
	Proved Outcome = iota
	// Reached: the backend answered. The master key was not asked.
	Reached
	// Unreachable: there was no answer, or one that says nothing about access.
	Unreachable
	// Denied: the backend or the master key refused this caller. A wrong profile
	// looks the same.
	Denied
	// Revoked: the master key is disabled, or the identity was removed.
	Revoked
)

func (o Outcome) String() string {
	switch o {
	case Proved:
		return "proved"
	case Reached:
		return "reached"
	case Unreachable:
		return "unreachable"
	case Denied:
		return "denied"
	case Revoked:
		return "revoked"
	}
	return "unknown"
}

// Verdict is what to do.
type Verdict struct {
	// Lock ends the keeper now.
	Lock bool
	// Forget wipes the share for offline use.
	Forget bool
	// Renew restarts the lease.
	Renew bool
	// Denied is the caller to remember as denied; empty: none.
	Denied string
}

// Decide returns what to do after an outcome. caller is the denied caller, if the
// service named it, and deniedBefore the caller remembered from the last check.
func Decide(o Outcome, caller, deniedBefore string) Verdict {
	switch o {
	case Proved:
		return Verdict{Renew: true}
	case Denied:
		if caller == "" {
			caller = "unknown"
		}
		return Verdict{Lock: true, Forget: caller == deniedBefore, Denied: caller}
	case Revoked:
		return Verdict{Lock: true, Forget: true}
	}
	return Verdict{Denied: deniedBefore}
}

// jitter is the largest deviation of the time between refreshes, as a fraction of it,
// so that a thousand daemons that start at nine don't stay synchronised.
const jitter = 0.2

// Next returns the time until the next refresh: every, plus or minus the jitter.
func Next(every time.Duration) time.Duration {
	return every + time.Duration((rand.Float64()*2-1)*jitter*float64(every))
}

// Furthest returns the longest time between two proofs if everything answers: the
// first refresh after check makes the next one.
func Furthest(check, every time.Duration) time.Duration {
	return check + every + time.Duration(jitter*float64(every))
}
