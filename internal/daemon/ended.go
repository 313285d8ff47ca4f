package daemon

import (
	"fmt"
	"time"

	"vigil/internal/control"
)

// endReserve is how far apart the keeper's clock and the front's may be at the
// end of a lease.
const endReserve = 2 * time.Second

// ended says why a keeper ended that nobody here ended: it keeps its deadlines
// by itself. problem is what the last try to refresh met, or nil.
func (v *vault) ended(o *openVault, problem *control.Error) control.Refusal {
	r := control.Refusal{What: "keep", Vault: v.name, Next: "Unlock it: vigilctl unlock --vault " + v.name}
	v.mu.Lock()
	leaseEnds, refreshed, offline := o.leaseEnds, o.refreshed, o.offline
	v.mu.Unlock()
	switch idle := time.Duration(v.cfg.Idle); {
	case o.keeper.Exit() != nil:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	case time.Until(leaseEnds) < endReserve && offline:
		r.Reason = "the time that the vault may be unlocked without network is over, so it is locked"
	case time.Until(leaseEnds) < endReserve:
		r.Reason = fmt.Sprintf("the lease ended, so the vault is locked: master key and backend weren't both reached since %s",
			refreshed.Format(time.DateTime))
	case idle != 0:
		r.Reason = fmt.Sprintf("no key was used for %v, so the vault is locked", idle)
	default:
		r.Reason = "the process that held the keys ended, so the vault is locked"
	}
	if problem != nil && time.Until(leaseEnds) < endReserve {
		r.Reason += " (" + problem.Message + ")"
		r.Next = problem.Next
	}
	return r
}
