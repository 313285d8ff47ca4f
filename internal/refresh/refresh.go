// Package refresh decides what follows from a look at a vault's backend and
// master key: go on, lock, or lock and forget what would unlock it offline. It
// is pure; package daemon does what it decides.
//
//	outcome       vault    share kept for offline use     lease
//	proved        goes on  kept                            restarts
//	reached       goes on  kept                            runs on
//	unreachable   goes on  kept                            runs on
//	denied        locks    forgotten when it repeats under
//	                       the same caller                 ends
//	revoked       locks    forgotten                       ends
//
// A lease restarts at the moment at which the proof was asked for, whatever
// else was reached since.
package refresh

import (
	"math/rand/v2"
	"time"
)

// Outcome is what a look came to.
type Outcome int

// The outcomes.
const (
	// Proved: the backend answered, and after it the master key decrypted this
	// identity's share.
	Proved Outcome = iota
	// Reached: the backend answered. It can't know whether the master key would.
	Reached
	// Unreachable: there was no answer, or one that says nothing about access.
	Unreachable
	// Denied: one of them refused this caller. A wrong profile looks the same.
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
	// Forget wipes what would unlock the vault without network.
	Forget bool
	// Renew restarts the lease.
	Renew bool
	// Denied is the caller to remember as denied; empty: none.
	Denied string
}

// Decide says what follows from an outcome. caller is who was denied, as far as
// the service says, and deniedBefore the caller remembered from the last time.
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

// jitter is how far a time between refreshes is off at most, as a part of it:
// a thousand daemons that start at nine don't ask at the same moment for ever.
const jitter = 0.2

// Next returns the time until the next refresh, every give or take the jitter.
func Next(every time.Duration) time.Duration {
	return every + time.Duration((rand.Float64()*2-1)*jitter*float64(every))
}

// Furthest is how far apart two proofs can be while all answer: one is made by
// the first refresh that comes when check is over.
func Furthest(check, every time.Duration) time.Duration {
	return check + every + time.Duration(jitter*float64(every))
}
