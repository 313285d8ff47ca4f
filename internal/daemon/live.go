package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/refresh"
	"vigil/internal/vaultfile"
	"vigil/internal/watch"
)

// tick is how often an unlocked vault's clocks are compared: timers stop in
// suspend, and a refresh is due right after it.
const tick = 15 * time.Second

// clockEvery is how often an open vault notes the time, which bounds what setting
// the clock back without network gains.
const clockEvery = 10 * time.Minute

// live keeps an unlocked vault up to date until ctx ends, with its keeper: it follows the
// vault file, fetches the keyring from time to time, and proves access to the
// master key. It's the only goroutine of an open vault that does so unasked.
func (v *vault) live(ctx context.Context, o *openVault) {
	var changes <-chan watch.Change
	w, err := watch.Watch(ctx, v.cfg.Path, watch.Options{Match: v.isConflictCopy, Rewrites: true})
	if err != nil {
		v.d.log.Error("vault file can't be watched", "vault", v.name, "err", err)
	} else {
		changes = w.Changes()
	}
	timer := time.NewTimer(refresh.Next(time.Duration(v.cfg.Refresh)))
	defer timer.Stop()
	clocks := time.NewTicker(tick)
	defer clocks.Stop()
	last := time.Now().Round(0) // wall time only: the monotonic clock stops in suspend
	noted := last
	v.followFile(ctx, o) // it may have changed while it was being unlocked
	for {
		select {
		case <-ctx.Done():
			v.rememberStale(context.WithoutCancel(ctx), o)
			for changes != nil { // until the watcher has let go
				if _, ok := <-changes; !ok {
					changes = nil
				}
			}
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			v.followFile(ctx, o)
			continue // the timer goes on: who changes the file all the time puts off no refresh
		case <-o.stale:
			v.rememberKeys(context.WithoutCancel(ctx), o) // a lock ends all else
			continue
		case <-clocks.C:
			now := time.Now().Round(0)
			if now.Sub(last) > 2*tick { // it was suspended
				v.tidyRefresh(ctx, o)
			}
			if last = now; now.Sub(noted) > clockEvery {
				v.noteClock(ctx, v.d.state.Vault(o.id))
				noted = now
			}
			continue
		case <-timer.C:
			v.tidyRefresh(ctx, o)
		}
		timer.Reset(refresh.Next(time.Duration(v.cfg.Refresh)))
	}
}

// rememberStale keeps the keys to list while locked, if that is still to do.
func (v *vault) rememberStale(ctx context.Context, o *openVault) {
	select {
	case <-o.stale:
		v.rememberKeys(ctx, o)
	default:
	}
}

// followFile takes the vault file as it is now. The keyring is fetched before a
// file is taken that has lines without keys: such a line has replaced the one in
// use, so until its key is there the vault would be without that item.
func (v *vault) followFile(ctx context.Context, o *openVault) {
	ctx, done, err := v.beginFirst(ctx)
	if err != nil {
		return
	}
	defer done()
	v.noteCopies(v.takeConflictCopies(ctx, o))
	v.noteFile(v.takeFile(ctx, o))
}

// takeFile is what followFile does with the vault file.
func (v *vault) takeFile(ctx context.Context, o *openVault) error {
	data, err := v.readBytes()
	if err != nil {
		return err
	}
	had := o.file
	changed := !had.Holds(data) // this daemon's own writes are seen by its watcher, too
	f := had
	if changed {
		if f, err = v.parseAfter(had, data); err != nil {
			return err
		}
	}
	if o.waiting > 0 || changed && o.wantsKeys(f) {
		_, err := v.fetch(ctx, o, false, nil)
		v.settle(ctx, o, err)
	}
	if !changed || o.file != had || ctx.Err() != nil { // loaded by the fetch, or locked
		return nil
	}
	return v.reloadWith(ctx, o, o.keyring, f)
}

// wantsKeys reports whether a vault file has lines whose keys aren't in the keyring
// that was loaded.
func (o *openVault) wantsKeys(f *vaultfile.File) bool {
	var deks *keyring.Deks
	return slices.ContainsFunc(f.Revisions(), func(r vaultfile.Revision) bool {
		if o.facts[r.Revision] != nil {
			return false
		}
		if deks == nil {
			var err error
			if deks, err = keyring.ParseDeks(o.keyring.Deks, o.id); err != nil {
				return true
			}
		}
		return !deks.Has(r.Item, r.Revision) && !deks.Deleted(r.Item)
	})
}

// noteFile says once, not at every look, that the vault file can't be used.
func (v *vault) noteFile(err error) {
	v.mu.Lock()
	same := fmt.Sprint(v.fileErr) == fmt.Sprint(err)
	v.fileErr = err
	v.mu.Unlock()
	switch {
	case same:
	case err != nil:
		v.d.log.Error("vault file can't be used: the keys it had before go on serving", "vault", v.name, "err", err)
		v.d.why.note(control.Refusal{What: "read", Vault: v.name, Reason: err.Error(), Next: control.AsError(err).Next})
	default:
		v.d.log.Info("vault file is good again", "vault", v.name)
	}
}

// tidyRefresh is a refresh that nobody waits for.
func (v *vault) tidyRefresh(ctx context.Context, o *openVault) {
	ctx, done, err := v.beginFirst(ctx)
	if err != nil {
		return
	}
	defer done()
	_, err = v.fetch(ctx, o, time.Since(o.checked) >= time.Duration(v.cfg.Check), nil)
	v.settle(ctx, o, err)
	if err == nil {
		v.tidyRotation(ctx, o)
	}
}

// refresh fetches the keyring, proves access to the master key and reads the
// vault file again, because vigilctl asks.
func (v *vault) refresh(ctx context.Context, ask opener.Asker) (r control.RefreshResult) {
	r.Vault = v.name
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		r.Error = control.AsError(err)
		return r
	}
	defer done()
	o, err := v.current()
	if err != nil {
		r.Error = control.AsError(err)
		return r
	}
	before, had := o.loaded.Pins, len(o.keys)
	pushed, err := v.fetch(ctx, o, true, ask)
	v.settle(ctx, o, err)
	if err == nil {
		err = v.reload(ctx, o, o.keyring)
	}
	if err != nil {
		r.Error = control.AsError(err)
		return r
	}
	r.Epoch, r.Pushed = o.loaded.Pins.Deks.Epoch, pushed
	r.Changed = o.loaded.Pins != before || had != len(o.keys)
	r.Added, r.Removed = max(0, len(o.keys)-had), max(0, had-len(o.keys))
	return r
}

// fetch catches up with the backend, pushes what waits for it, and with check
// has the master key decrypt the identity's share once more.
func (v *vault) fetch(ctx context.Context, o *openVault, check bool, ask opener.Asker) (pushed int, err error) {
	session, err := opener.Start(ctx, v.d.o.Opener, o.id)
	if err != nil {
		return 0, openerError(v.name, err)
	}
	defer session.Close()
	if err := v.catchUp(ctx, session, o, ask); err != nil {
		return 0, err
	}
	if check {
		if err := v.proveAccess(ctx, session, o, ask); err != nil {
			return 0, err
		}
	}
	if pushed, err = v.pushPending(ctx, session, o); err != nil {
		return pushed, err
	}
	return pushed, v.collect(ctx, session, o)
}

// proveAccess makes one KMS call.
func (v *vault) proveAccess(ctx context.Context, session *opener.Client, o *openVault, ask opener.Asker) error {
	members, err := keyring.ParseMembers(o.keyring.Members, o.id)
	if err != nil {
		return fmt.Errorf("read keyring: %w", err)
	}
	block, ok := members.Unlock(o.identity)
	if !ok {
		return fmt.Errorf("check access of vault %q: no unlock block for this identity", v.name)
	}
	reply, err := session.Do(ctx, opener.Request{Check: &opener.Check{
		Place: v.place(o.id, o.identity), Identity: o.identity, Share: block.Share,
	}}, ask)
	if err != nil {
		v.d.calls.failed()
		return openerError(v.name, err)
	}
	if reply.Check != nil {
		v.d.calls.add(reply.Check.Calls)
	}
	o.checked = time.Now()
	return nil
}

// settle does what follows from a refresh: renew the lease, or lock.
func (v *vault) settle(ctx context.Context, o *openVault, err error) {
	outcome, caller := outcomeOf(err)
	st := v.d.state.Vault(o.id)
	before, blobErr := st.Blob(deniedBlob)
	if blobErr != nil {
		before = nil
	}
	verdict := refresh.Decide(outcome, caller, string(before))
	if verdict.Denied != string(before) {
		v.keepBlob(ctx, st, deniedBlob, []byte(verdict.Denied))
	}
	if verdict.Forget {
		v.forgetOffline(ctx, st)
	}
	switch {
	case verdict.Lock:
		v.lockFor(err)
	case verdict.Renew:
		v.renew(ctx, o)
	default:
		v.d.log.Warn("vault can't be refreshed", "vault", v.name, "err", err)
		v.setProblem(control.AsError(err))
	}
}

// renew starts the lease anew, here and in the keeper.
func (v *vault) renew(ctx context.Context, o *openVault) {
	now := time.Now()
	v.mu.Lock()
	o.refreshed, o.leaseEnds, o.offline = now, now.Add(time.Duration(v.cfg.Lease)), false
	v.problem = nil
	v.mu.Unlock()
	v.noteClock(ctx, v.d.state.Vault(o.id))
	if err := o.keeper.SetDeadlines(ctx, time.Duration(v.cfg.Idle), time.Duration(v.cfg.Lease)); err != nil && !errors.Is(err, keeper.ErrGone) {
		v.d.log.Error("lease can't be renewed", "vault", v.name, "err", err)
	}
}

// lockFor locks because access is gone, and says why.
func (v *vault) lockFor(err error) {
	shown := control.AsError(err)
	v.lock()
	v.setProblem(shown)
	r := control.Refusal{What: "refresh", Vault: v.name, Reason: shown.Message, Next: shown.Next}
	var e *opener.Error
	if errors.As(err, &e) {
		r.RequestID = e.RequestID
	}
	v.d.why.note(r)
	v.d.log.Error("vault locked: access to it is gone", "vault", v.name, "err", err)
}

func (v *vault) setProblem(p *control.Error) {
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

// isConflictCopy picks the copies of the vault file that sync tools leave beside
// it: "vault (conflicted copy).jsonl", "vault.sync-conflict-….jsonl".
func (v *vault) isConflictCopy(name string) bool {
	base := strings.TrimSuffix(fileName(v.cfg.Path), ".jsonl")
	return name != fileName(v.cfg.Path) && strings.HasPrefix(name, base) && strings.HasSuffix(name, ".jsonl") &&
		strings.Contains(strings.ToLower(name), "conflict")
}
