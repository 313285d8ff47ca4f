package daemon

import (
	"fmt"
	"time"

	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/opener"
)

// endReserve is how far apart the keeper's clock and the front's may be at the
// end of a lease.
const endReserve = 2 * time.Second

// ended says why a keeper ended that nobody here ended: it keeps its deadlines
// by itself. problem is what the last try to refresh met, or nil.
func (v *vault) ended(o *openVault, problem *control.Error) control.Refusal {
	r := control.Refusal{What: "keep", Vault: v.name, Next: "Unlock it: vigilctl unlock --vault " + v.name}
	v.mu.Lock()
	now := clock.Now()
	over := o.leaseEnds.Left(now) < endReserve
	proved, offline := o.proved.Shown(now), o.offline
	v.mu.Unlock()
	traced := o.keeper.Traced()
	switch idle := time.Duration(v.config().Idle); {
	case traced != nil:
		r.Reason, r.Next = "the vault was locked: "+traced.Error(), opener.NextTraced
		return r
	case o.keeper.Exit() != nil:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	case over && offline:
		r.Reason = "the time that the vault may be unlocked without network is over, so it is locked"
	case over:
		r.Reason = fmt.Sprintf("the lease ended, so the vault is locked: backend and master key didn't both answer since %s",
			proved.Format(time.DateTime))
	case idle != 0:
		r.Reason = fmt.Sprintf("no key was used for %v, so the vault is locked", idle)
	default:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	}
	if problem != nil && over {
		r.Reason += " (" + problem.Message + ")"
		r.Next = problem.Next
	}
	return r
}
