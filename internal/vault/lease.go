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

// A lease is the last proof by the master key, counted from when it was asked for,
// plus the time of the configuration. Nothing else moves its end: neither what the
// backend answers nor what the vault file holds, and no job of vigilctl's. After
// an unlock without network it ends with the kept share at the latest.

// checkDue reports whether the next refresh has to ask the master key.
func (v *Vault) checkDue(o *openVault) bool {
	proved := o.access.Load().proved
	return proved.IsZero() || proved.Since(clock.Now()) >= time.Duration(v.config().Check)
}

// noteAccess changes what is known of the access to the vault. The caller has the
// turn.
func (o *openVault) noteAccess(change func(a *access)) {
	next := *o.access.Load()
	change(&next)
	o.access.Store(&next)
}

// seenShare is a share as the front may know it.
type seenShare struct{ wrapped, digest []byte }

// holds reports whether a wrapped share was decrypted to what it was before. The
// first digest of one counts: that of the unlock, and again after what replaces
// the share, which takes a passphrase.
func (s *seenShare) holds(wrapped, digest []byte) bool {
	if !bytes.Equal(s.wrapped, wrapped) {
		*s = seenShare{wrapped, digest}
	}
	return len(digest) > 0 && bytes.Equal(s.digest, digest)
}

// settle does what follows from a look: renew the lease, or lock. A look that a
// lock has ended says nothing, and mustn't hide why it was locked.
func (v *Vault) settle(ctx context.Context, o *openVault, l look, err error) {
	if now, lockedErr := v.current(); ctx.Err() != nil || lockedErr != nil || now != o {
		return
	}
	outcome, caller := outcomeOf(err)
	if !l.proved.IsZero() && (outcome == refresh.Reached || outcome == refresh.Unreachable) {
		outcome = refresh.Proved // whatever was done after it
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
	case !v.checkDue(o): // else a problem with the master key may still be there
		v.setProblem(nil)
	}
}

// judge decides what follows from an outcome, and keeps what is to be kept of it.
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

// deniedAtUnlock forgets what would unlock the vault without network, when the
// master key or the backend says that access is gone.
func (v *Vault) deniedAtUnlock(ctx context.Context, st *state.Vault, err error) {
	outcome, caller := outcomeOf(err)
	if outcome == refresh.Unreachable {
		return // a wrong passphrase, too
	}
	v.judge(ctx, st, outcome, caller)
	v.setProblem(control.AsError(err))
}

// renew restarts the lease, in the keeper and here, at the moment at which its
// proof was asked for.
func (v *Vault) renew(ctx context.Context, o *openVault, proved clock.Instant) {
	ends := proved.After(time.Duration(v.config().Lease))
	if err := o.keeper.SetDeadlines(ctx, time.Duration(v.config().Idle), ends); err != nil {
		if !errors.Is(err, keeper.ErrGone) {
			v.d.Log.Error("lease can't be renewed", "vault", v.name, "err", err)
		}
		return
	}
	o.noteAccess(func(a *access) { a.proved, a.ends, a.offline = proved, ends, false })
	v.noteClock(ctx, v.d.State.Vault(o.id))
}

// lockFor locks because access is gone, and says why.
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

// outcomeOf sorts the error of a refresh.
func outcomeOf(err error) (o refresh.Outcome, caller string) {
	var e *opener.Error
	errors.As(err, &e)
	switch {
	case err == nil:
		return refresh.Reached, ""
	case errors.Is(err, keeper.ErrNoIdentity), e != nil && (e.Kind == opener.Revoked || e.Kind == opener.NotAMember):
		return refresh.Revoked, ""
	case e != nil && e.Kind == opener.Denied && e.Caller+e.RequestID != "":
		// Without either it's this device's own disk that refused: no service did.
		return refresh.Denied, e.Caller
	}
	return refresh.Unreachable, ""
}
