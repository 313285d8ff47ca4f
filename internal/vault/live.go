package vault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"vigil/internal/backend"
	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/opener"
	"vigil/internal/refresh"
	"vigil/internal/vaultfile"
	"vigil/internal/watch"
)

// tick is how often an unlocked vault compares clocks: timers stop during suspend,
// and a refresh is due right after it.
const tick = 15 * time.Second

// clockEvery is how often an open vault records the time. This bounds what setting
// the clock back without network gains.
const clockEvery = 10 * time.Minute

// listDelay is how long after a change the list for the locked vault is written, so
// that several changes cause one write. A lock writes it at once.
const listDelay = time.Second

// never is longer than any vault is open.
const never = time.Duration(math.MaxInt64)

// live keeps an unlocked vault up to date until ctx ends: it follows the vault file,
// fetches the keyring and proves access to the master key. No other goroutine of an
// open vault does so unasked.
func (v *Vault) live(ctx context.Context, o *openVault) {
	var changes <-chan watch.Change
	w, err := watch.Watch(ctx, v.config().Path, watch.Options{Match: v.isConflictCopy, Rewrites: true})
	if err != nil {
		v.d.Log.Error("vault file can't be watched", "vault", v.name, "err", err)
	} else {
		changes = w.Changes()
	}
	timer := time.NewTimer(refresh.Next(time.Duration(v.config().Refresh)))
	defer timer.Stop()
	clocks := time.NewTicker(tick)
	defer clocks.Stop()
	var keysDue <-chan time.Time // nil: the list for the locked vault is up to date
	last := clock.Now()
	noted := last
	again := time.NewTimer(0) // the file may have changed during the unlock
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			if keysDue != nil || len(o.stale) > 0 {
				v.rememberKeys(context.WithoutCancel(ctx), o)
			}
			for changes != nil { // until the watcher has stopped
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
			again.Reset(v.followFile(ctx, o))
			continue // timer keeps running: frequent changes of the file don't postpone a refresh
		case <-again.C:
			again.Reset(v.followFile(ctx, o))
			continue
		case <-o.stale:
			if keysDue == nil {
				keysDue = time.After(listDelay)
			}
			continue
		case <-keysDue:
			keysDue = nil
			v.rememberKeys(context.WithoutCancel(ctx), o) // a lock has cancelled ctx
			continue
		case <-clocks.C:
			now := clock.Now()
			if noted.Since(now) > clockEvery {
				v.noteClock(ctx, v.d.State.Vault(o.id))
				noted = now
			}
			slept := last.Since(now) > 2*tick
			if last = now; !slept {
				continue
			}
			v.refreshUnattended(ctx, o)
		case <-timer.C:
			v.refreshUnattended(ctx, o)
		}
		timer.Reset(refresh.Next(time.Duration(v.config().Refresh)))
	}
}

// followFile loads the vault file if it changed. If it has lines without keys, the
// keyring is fetched first: such a line has replaced the one in use, and without its
// key the vault would lack that item. It returns when to look again if nothing changes.
func (v *Vault) followFile(ctx context.Context, o *openVault) (again time.Duration) {
	ctx, done, err := v.beginFirst(ctx)
	if err != nil {
		return never
	}
	defer done()
	again, copies := v.takeConflictCopies(ctx, o)
	fileErr := v.takeFile(ctx, o)
	if ctx.Err() != nil {
		return never // locked: an error says nothing about the files
	}
	v.noteCopies(copies)
	v.noteFile(fileErr)
	return again
}

// takeFile loads the vault file for followFile.
func (v *Vault) takeFile(ctx context.Context, o *openVault) error {
	f, err := v.readFile()
	if err != nil {
		return err
	}
	had := o.now().file
	changed := !had.Same(f) // the watcher also reports this daemon's own writes
	if o.now().waiting > 0 || changed && o.now().wantsKeys(f) {
		l, err := v.fetch(ctx, o, false, nil)
		v.conclude(ctx, o, l, err)
	}
	if !changed || o.now().file != had || ctx.Err() != nil { // loaded by the fetch, or locked
		return nil
	}
	return v.reloadWith(ctx, o, o.now().keyring, f)
}

// wantsKeys reports whether f has lines whose keys aren't in the loaded keyring.
func (n *snapshot) wantsKeys(f *vaultfile.File) bool {
	return slices.ContainsFunc(f.Lines(), func(l vaultfile.Line) bool {
		if n.byRevision[l.Revision] != nil {
			return false
		}
		deks, err := n.deks()
		return err != nil || !deks.Has(l.Item, l.Revision) && !deks.Deleted(l.Item)
	})
}

// noteFile reports that the vault file can't be used, once for the same error.
func (v *Vault) noteFile(err error) {
	v.mu.Lock()
	same := fmt.Sprint(v.fileErr) == fmt.Sprint(err)
	v.fileErr = err
	v.mu.Unlock()
	switch {
	case same:
	case err != nil:
		v.d.Log.Error("vault file can't be used: the keys loaded before stay usable", "vault", v.name, "err", err)
		v.d.Refused(control.Refusal{What: "read", Vault: v.name, Reason: err.Error(), Next: control.AsError(err).Next})
	default:
		v.d.Log.Info("vault file is good again", "vault", v.name)
	}
}

// refreshUnattended is a refresh that no client waits for.
func (v *Vault) refreshUnattended(ctx context.Context, o *openVault) {
	ctx, done, err := v.beginFirst(ctx)
	if err != nil {
		return
	}
	defer done()
	l, err := v.fetch(ctx, o, v.checkDue(o), nil)
	v.conclude(ctx, o, l, err)
	if err == nil {
		v.rotateUnattended(ctx, o)
	}
}

// Refresh fetches the keyring, proves access to the master key and reads the vault
// file, on vigilctl's request.
func (v *Vault) Refresh(ctx context.Context, ask opener.Asker) (r control.RefreshResult) {
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
	before := o.now()
	l, err := v.fetch(ctx, o, true, ask)
	v.conclude(ctx, o, l, err)
	if err == nil {
		err = v.reload(ctx, o, o.now().keyring)
	}
	if err != nil {
		r.Error = control.AsError(err)
		return r
	}
	now := o.now()
	r.Epoch, r.Pushed = now.pins.Deks.Epoch, l.pushed
	more := len(now.keys) - len(before.keys)
	r.Changed = now.pins != before.pins || more != 0
	r.Added, r.Removed = max(0, more), max(0, -more)
	return r
}

// look is the result of asking the backend and the master key.
type look struct {
	pushed int
	proved clock.Instant // when the proof was requested; zero: none was given
}

// fetch catches up with the backend and pushes pending changes. With check, it also has
// the master key decrypt the identity's share. A proof in l holds even with an error.
func (v *Vault) fetch(ctx context.Context, o *openVault, check bool, ask opener.Asker) (l look, err error) {
	asked := clock.Now()
	session, err := v.d.Opener.Start(ctx, o.id)
	if err != nil {
		return l, openerError(v.name, err)
	}
	defer session.Close()
	if err := v.catchUp(ctx, session, o, ask); err != nil {
		return l, err
	}
	o.noteAccess(func(a *access) { a.refreshed = time.Now() })
	if check {
		if err := v.proveAccess(ctx, session, o, ask); err != nil {
			return l, err
		}
		l.proved = asked
	}
	if l.pushed, err = v.pushPending(ctx, session, o); err != nil {
		return l, err
	}
	return l, v.collect(ctx, session, o)
}

// proveAccess has the master key decrypt the identity's share: one KMS call.
func (v *Vault) proveAccess(ctx context.Context, session *opener.Client, o *openVault, ask opener.Asker) error {
	block, ok := o.now().members.Unlock(o.identity)
	if !ok {
		return fmt.Errorf("check access of vault %q: no unlock block for this identity", v.name)
	}
	checked, err := opener.Do(ctx, session, &opener.Check{
		Place: v.place(o.id, o.identity), Identity: o.identity, Share: block.Share,
	}, opener.Seen{}, ask)
	if err != nil {
		v.d.Calls.failed()
		return openerError(v.name, err)
	}
	v.d.Calls.add(checked.Calls)
	if !o.share.holds(block.Share, checked.Digest) {
		return control.Errorf(control.CodeUnreachable, "Check which service the AWS configuration names: endpoint_url, AWS_ENDPOINT_URL and the like.",
			"check access of vault %q: what answered in the master key's place doesn't know this identity's share", v.name)
	}
	return nil
}

// isConflictCopy reports whether name is a sync tool's copy of the vault file: "vault
// (conflicted copy).jsonl", "vault.sync-conflict-….jsonl".
func (v *Vault) isConflictCopy(name string) bool {
	base := strings.TrimSuffix(fileName(v.config().Path), ".jsonl")
	return name != fileName(v.config().Path) && strings.HasPrefix(name, base) && strings.HasSuffix(name, ".jsonl") &&
		strings.Contains(strings.ToLower(name), "conflict")
}

// collectEvery is how often unneeded DEKs are looked for.
const collectEvery = 24 * time.Hour

// collect drops unneeded DEKs, at most once in collectEvery.
func (v *Vault) collect(ctx context.Context, session *opener.Client, o *openVault) error {
	if time.Since(o.collected) < collectEvery {
		return nil
	}
	o.collected = time.Now()
	f, err := v.readFile()
	if err != nil {
		return err
	}
	if err := v.give(ctx, o, f); err != nil {
		return err
	}
	object, err := o.keeper.Collect(ctx, time.Now())
	if err != nil || object == nil {
		return err
	}
	stored, err := opener.Do(ctx, session, &opener.Put{
		Place: v.place(o.id, o.identity), Object: backend.Deks, Data: object, Expect: o.now().keyring.DeksVersion,
	}, opener.Seen{}, nil)
	if errors.Is(err, &opener.Error{Kind: opener.Conflict}) {
		return nil // try again another day
	}
	if err != nil {
		return openerError(v.name, err)
	}
	next := o.now().keyring
	next.Deks, next.DeksVersion = object, stored.Version
	return v.reload(ctx, o, next)
}
