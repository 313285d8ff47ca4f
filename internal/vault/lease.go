package vault

import (
	"bytes"
	"context"
	"errors"
	"time"

	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/refresh"
	"vigil/internal/state"
)

// A lease ends after the configured time, counted from the request for the last proof by
// the master key. Nothing else moves its end: not the backend's answers, the vault file or
// vigilctl's jobs. After an unlock without network, it ends no later than the kept share.

// checkDue reports whether the next refresh must prove access to the master key.
func (v *Vault) checkDue(o *openVault) bool {
	proved := o.access.Load().proved
	return proved.IsZero() || proved.Since(clock.Now()) >= time.Duration(v.config().Check)
}

// noteAccess changes o.access. The caller has the turn.
func (o *openVault) noteAccess(change func(a *access)) {
	next := *o.access.Load()
	change(&next)
	o.access.Store(&next)
}

// seenShare is a wrapped share and the digest of its plaintext.
type seenShare struct{ wrapped, digest []byte }

// holds reports whether a wrapped share was decrypted to the same plaintext as
// before. It records the first digest of each wrapped share: of the unlock, and of a
// change of the share, which takes a passphrase.
func (s *seenShare) holds(wrapped, digest []byte) bool {
	if !bytes.Equal(s.wrapped, wrapped) {
		*s = seenShare{wrapped, digest}
	}
	return len(digest) > 0 && bytes.Equal(s.digest, digest)
}

// conclude acts on the result of a look: it renews the lease, or locks. It ignores a
// look that a lock has cancelled, which would hide why the vault was locked.
func (v *Vault) conclude(ctx context.Context, o *openVault, l look, err error) {
	if now, lockedErr := v.current(); ctx.Err() != nil || lockedErr != nil || now != o {
		return
	}
	outcome, caller := outcomeOf(err)
	if !l.proved.IsZero() && (outcome == refresh.Reached || outcome == refresh.Unreachable) {
		outcome = refresh.Proved // whatever failed after the proof
	}
	verdict := v.judge(ctx, v.d.State.Vault(o.id), outcome, caller)
	if verdict.Lock {
		v.lockFor(err)
		return
	}
	if verdict.Renew {
		v.renew(ctx, o, l.proved)
	}
	switch {
	case err != nil:
		v.d.Log.Warn("vault can't be refreshed", "vault", v.name, "err", err)
		v.setProblem(control.AsError(err))
	case !v.checkDue(o) && o.noted == o.now().pins: // otherwise a problem with the master key or of load may remain
		v.setProblem(nil)
	}
}

// judge decides what follows from an outcome, and updates the device state accordingly.
func (v *Vault) judge(ctx context.Context, st *state.Vault, outcome refresh.Outcome, caller string) refresh.Verdict {
	before, err := st.Blob(deniedBlob)
	if err != nil {
		before = nil
	}
	verdict := refresh.Decide(outcome, caller, string(before))
	if verdict.Denied != string(before) {
		v.keepBlob(ctx, st, deniedBlob, []byte(verdict.Denied))
	}
	if verdict.Forget {
		v.forgetOffline(ctx, st)
	}
	return verdict
}

// deniedAtUnlock drops the kept share if the master key or the backend denied access.
func (v *Vault) deniedAtUnlock(ctx context.Context, st *state.Vault, err error) {
	outcome, caller := outcomeOf(err)
	if outcome == refresh.Unreachable {
		return // or a wrong passphrase
	}
	v.judge(ctx, st, outcome, caller)
	v.setProblem(control.AsError(err))
}

// renew restarts the lease, in the keeper and here. It counts from the request for
// the proof.
func (v *Vault) renew(ctx context.Context, o *openVault, proved clock.Instant) {
	ends := proved.After(time.Duration(v.config().Lease))
	if err := v.setDeadlines(ctx, o, ends); err != nil {
		if !errors.Is(err, keeper.ErrGone) {
			v.d.Log.Error("lease can't be renewed", "vault", v.name, "err", err)
		}
		return
	}
	o.noteAccess(func(a *access) { a.proved, a.ends, a.offline = proved, ends, false })
	v.noteClock(ctx, v.d.State.Vault(o.id))
}

// setDeadlines tells the keeper when to end, even if this process hangs: at the end of the
// lease or when it was unlocked for max_unlocked, whichever comes first.
func (v *Vault) setDeadlines(ctx context.Context, o *openVault, lease clock.Instant) error {
	return o.keeper.SetDeadlines(ctx, time.Duration(v.config().Idle), clock.Earlier(lease, o.until))
}

// lockFor locks the vault because access was revoked, and reports why.
func (v *Vault) lockFor(err error) {
	shown := control.AsError(err)
	v.lock()
	v.setProblem(shown)
	r := control.Refusal{What: "refresh", Vault: v.name, Reason: shown.Message, Next: shown.Next}
	var e *opener.Error
	if errors.As(err, &e) {
		r.RequestID = e.RequestID
	}
	v.d.Refused(r)
	v.d.Log.Error("vault locked: access to it is gone", "vault", v.name, "err", err)
}

func (v *Vault) setProblem(p *control.Error) {
	v.mu.Lock()
	v.problem = p
	v.mu.Unlock()
}

// outcomeOf classifies the error of a refresh.
func outcomeOf(err error) (o refresh.Outcome, caller string) {
	var e *opener.Error
	errors.As(err, &e)
	switch {
	case err == nil:
		return refresh.Reached, ""
	case errors.Is(err, keeper.ErrNoIdentity), e != nil && (e.Kind == opener.Revoked || e.Kind == opener.NotAMember):
		return refresh.Revoked, ""
	case e != nil && e.Kind == opener.Denied && e.Caller+e.RequestID != "":
		// Without both, no service refused, but this device's own disk.
		return refresh.Denied, e.Caller
	}
	return refresh.Unreachable, ""
}
