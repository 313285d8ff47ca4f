package vault

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// Examine checks the vault, from its file to its master key.
func (v *Vault) Examine(ctx context.Context, ask opener.Asker) []checkup.Check {
	f, err := v.readFile()
	if err != nil {
		e := control.AsError(err)
		return []checkup.Check{checkup.Failure("vault file", e.Next, "%s", e.Message)}
	}
	var list []checkup.Check
	if n := len(f.Damaged()); n > 0 {
		list = append(list, checkup.Warning("vault file", "vigilctl vault verify says which; earlier files are in .history/ beside it.", "%s of %s can't be read", checkup.Count(n, "line"), v.config().Path))
	} else {
		list = append(list, checkup.Fine("vault file", "%s in %s", checkup.Count(len(f.Lines()), "line"), v.config().Path))
	}
	st := v.d.State.Vault(f.Vault())
	list = append(list, v.examineAccess(st)...)
	list = append(list, v.examineOffline(st), v.examineClock(st))
	list = append(list, v.examineCertificates()...)
	identity, err := v.identityOf(st)
	if err != nil {
		return append(list, checkup.Failure("device state", "Put this device's state folder back.", "%v", err))
	}
	return append(list, v.diagnose(ctx, f.Vault(), identity, ask)...)
}

// examineAccess checks an unlocked vault's lease and keeper, or says what happened to
// a locked vault.
func (v *Vault) examineAccess(st *state.Vault) []checkup.Check {
	v.mu.Lock()
	o, problem := v.open, v.problem
	var leaseEnds, proved time.Time
	var pending, waiting int
	var missing []string
	var offline bool
	if o != nil {
		now, a, n := clock.Now(), o.access.Load(), o.now()
		leaseEnds, proved, offline, waiting, missing = clock.Earlier(a.ends, o.until).Shown(now), a.proved.Shown(now), a.offline, n.waiting, n.missingNames()
	}
	v.mu.Unlock()
	if list, err := st.Pending(); err == nil {
		pending = len(list)
	}
	var list []checkup.Check
	switch {
	case o == nil && problem != nil:
		list = append(list, checkup.Warning("lease", problem.Next, "locked: %s", problem.Message))
	case o == nil:
		list = append(list, checkup.Fine("lease", "locked"))
	case problem != nil:
		list = append(list, checkup.Warning("lease", problem.Next, "unlocked until %s at most: %s", leaseEnds.Format(time.DateTime), problem.Message))
	case offline:
		list = append(list, checkup.Warning("lease", "vigilctl refresh, once there is a network.", "unlocked without network, until %s at most", leaseEnds.Format(time.DateTime)))
	default:
		list = append(list, checkup.Fine("lease", "unlocked until %s at least; backend and master key were asked at %s, and answered", leaseEnds.Format(time.DateTime), proved.Format(time.DateTime)))
	}
	if o != nil {
		list = append(list, examineKeeper(o.keeper))
	}
	if pending > 0 {
		list = append(list, checkup.Warning("changes", "vigilctl refresh pushes them, once there is a network.", "%d are saved on this device only", pending))
	}
	if waiting > 0 {
		list = append(list, checkup.Warning("items", "Run vigilctl refresh; vigilctl vault verify says more.", "%s without a key in the keyring", checkup.Count(waiting, "line")))
	}
	if len(missing) > 0 {
		list = append(list, checkup.Warning("vault file", "Sync the file; if an older one was put back, restore the newest (vigilctl vault history).",
			"it lacks the newest revision of %s: %s", checkup.Count(len(missing), "key"), strings.Join(missing, ", ")))
	}
	return list
}

// examineCertificates names the keys whose certificates have expired.
func (v *Vault) examineCertificates() []checkup.Check {
	var expired []string
	for _, k := range v.Keys() {
		if k.CertificateExpired() {
			expired = append(expired, k.Name+" expired at "+k.ValidUntil.Local().Format(time.DateTime))
		}
	}
	if len(expired) == 0 {
		return nil
	}
	return []checkup.Check{checkup.Warning("certificates",
		"Have them renewed, then vigilctl edit KEY --certificate FILE, or --no-certificate: the agent doesn't list them.",
		"%s: that of %s", checkup.Count(len(expired), "certificate"), strings.Join(expired, ", that of "))}
}

func examineKeeper(k *keeper.Client) checkup.Check {
	r := k.Report()
	switch {
	case !r.Undumpable:
		return checkup.Failure("keeper", "Lock the vault and read the daemon's log.", "the process that holds the keys can be read by other programs of its user")
	case len(r.Missing) > 0:
		return checkup.Warning("keeper", "Nothing to do but a newer kernel; docs/threat-model.md says what is weaker.", "pid %d runs without %s", k.PID(), strings.Join(r.Missing, ", "))
	}
	return checkup.Fine("keeper", "pid %d, sandboxed by %s", k.PID(), strings.Join(slices.Compact(r.Holds), ", "))
}

// examineOffline checks whether the vault can be unlocked without network.
func (v *Vault) examineOffline(st *state.Vault) checkup.Check {
	const what = "offline unlock"
	if !v.remote() {
		return checkup.Fine(what, "needs no network")
	}
	blob, err := st.Blob(shareBlob)
	var k opener.KeptShare
	if err == nil {
		err = json.Unmarshal(blob, &k)
	}
	expires := time.Unix(k.Expires, 0)
	offline := v.config().Offline
	switch {
	case offline == 0 && errors.Is(err, state.ErrNone):
		return checkup.Fine(what, `switched off (offline = "0")`)
	case offline == 0:
		return checkup.Warning(what, "vigilctl unlock drops it.", "switched off, but an earlier share is still kept; it isn't used")
	case errors.Is(err, state.ErrNone):
		return checkup.Warning(what, "vigilctl unlock with network keeps a share for "+offline.String()+".", "not possible: no share is kept")
	case err != nil:
		return checkup.Failure(what, "vigilctl unlock with network replaces it.", "the kept share can't be read: %v", err)
	case max(time.Now().Unix(), latest(st)) >= k.Expires:
		return checkup.Warning(what, "vigilctl unlock with network keeps a new one.", "the kept share expired at %s", expires.Format(time.DateTime))
	}
	return checkup.Fine(what, "possible until %s", expires.Format(time.DateTime))
}

// examineClock compares the clock with the latest time seen.
func (v *Vault) examineClock(st *state.Vault) checkup.Check {
	const slack = 5 * time.Minute
	now := time.Now()
	if seen := time.Unix(latest(st), 0); seen.After(now.Add(slack)) {
		return checkup.Warning("clock", "Set this machine's clock; the next unlock with network takes it as it is.", "it shows %s, and showed %s before: it was set back", now.Format(time.DateTime), seen.Format(time.DateTime))
	}
	return checkup.Fine("clock", "not before what it showed last")
}

// diagnose has an opener try the backend and the master key.
func (v *Vault) diagnose(ctx context.Context, vaultID id.Vault, identity id.Identity, ask opener.Asker) []checkup.Check {
	session, err := v.d.Opener.Start(ctx, vaultID)
	if err != nil {
		e := control.AsError(openerError(v.name, err))
		return []checkup.Check{checkup.Failure("opener", e.Next, "%s", e.Message)}
	}
	defer session.Close()
	diagnosis, err := opener.Do(ctx, session, &opener.Diagnose{Place: v.place(vaultID, identity), Identity: identity}, opener.Seen{}, ask)
	if err != nil {
		e := control.AsError(openerError(v.name, err))
		return []checkup.Check{checkup.Failure("opener", e.Next, "%s", e.Message)}
	}
	v.d.Calls.diagnosed(diagnosis)
	return diagnosis.Checks
}
