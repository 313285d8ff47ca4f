package vault

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"vigil/internal/backend"
	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/refresh"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// identityBlob is the state blob with the id of this device's identity.
const identityBlob = "identity"

// Unlock unlocks the vault.
func (v *Vault) Unlock(ctx context.Context, ask opener.Asker, req *control.UnlockRequest) (*control.UnlockReply, error) {
	already, err := v.unlock(ctx, v.byPassphrase(req.Passphrase, ask))
	if err != nil {
		v.refused(ctx, control.Refusal{What: "unlock"}, err)
		return nil, err
	}
	v.desk.Unlocked()
	r := &control.UnlockReply{Vault: v.Status(), AlreadyUnlocked: already}
	if why, offline := v.unlockedOffline(); offline {
		r.Notices = append(r.Notices, "Unlocked without network, from what this device keeps: "+why+".")
	}
	return r, nil
}

// handsOver has an opener open the identity, and give it to a keeper.
type handsOver func(ctx context.Context, k *keeper.Client, job *opener.Unlock, seen opener.Seen) (*opener.Unlocked, error)

// byPassphrase starts an opener with the passphrase.
func (v *Vault) byPassphrase(passphrase *os.File, ask opener.Asker) handsOver {
	return func(ctx context.Context, k *keeper.Client, job *opener.Unlock, seen opener.Seen) (*opener.Unlocked, error) {
		return between(ctx, v, job.Place.Vault, attachIdentity(k), []*os.File{passphrase}, job, seen, ask)
	}
}

// unlock starts a keeper and has an opener give it the opened identity. already
// reports that the vault was unlocked before.
func (v *Vault) unlock(ctx context.Context, open handsOver) (already bool, err error) {
	return inTurn(ctx, v, func(ctx context.Context) (already bool, err error) {
		if _, err := v.current(); err == nil {
			return true, nil
		}
		if err := v.slowDown(ctx); err != nil {
			return false, err
		}
		o, err := v.openWith(ctx, open)
		v.noteAttempt(err)
		if err != nil {
			return false, err
		}
		return false, v.install(ctx, o)
	})
}

// openWith returns the open vault with its keys loaded. The caller installs it.
func (v *Vault) openWith(ctx context.Context, open handsOver) (*openVault, error) {
	vaultID, _, err := v.readHeader()
	if err != nil {
		return nil, err
	}
	st := v.d.State.Vault(vaultID)
	seen, err := v.seen(st)
	if err != nil {
		return nil, err
	}
	identity, err := v.identityOf(st)
	if err != nil {
		return nil, err
	}
	off, err := v.offline(st)
	if err != nil {
		v.d.Log.Warn("no unlock without network", "vault", v.name, "err", err)
	}
	k, err := v.d.startKeeper(ctx, vaultID)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	// A lock doesn't wait for a keeper that has stopped.
	defer context.AfterFunc(ctx, k.Close)()
	o := v.newOpen(k, vaultID, clock.Now())
	if o.known, err = known(st, seen); err != nil {
		k.Close()
		return nil, err
	}
	o.replaced = o.known.Replaced
	f, unlocked, err := v.openBoth(ctx, o, seen, &opener.Unlock{
		Place: v.place(vaultID, identity), Passphrase: 1, Keeper: 2, Offline: off, KeepOffline: v.keepOffline(),
	}, open)
	if err != nil {
		k.Close()
		v.deniedAtUnlock(ctx, st, err)
		if errors.Is(err, &opener.Error{Kind: opener.Missing}) {
			err = v.missing(err)
		}
		return nil, v.movedMaster(st, err)
	}
	o.identity = unlocked.Identity
	v.d.Calls.add(unlocked.Calls)
	o.share = seenShare{unlocked.Share, unlocked.Digest}
	if unlocked.Offline {
		o.noteAccess(func(a *access) {
			a.offline, a.proved = true, clock.Instant{}
			a.ends = clock.Earlier(a.ends, clock.Now().After(offlineLease(off)))
		})
		if unlocked.Why != nil {
			o.offlineWhy = unlocked.Why.Message
		}
	} else {
		v.judge(ctx, st, refresh.Proved, "")
	}
	if err := v.rememberShare(ctx, st, unlocked); err != nil {
		v.d.Log.Warn("no share is kept for the time without network", "vault", v.name, "err", err)
	}
	if err := v.loadFirst(ctx, o, unlocked, seen.Kept, f); err != nil {
		k.Close()
		return nil, err
	}
	return o, nil
}

// loadFirst loads the keyring that the opener fetched. If its deks is refused, loadFirst
// loads the kept one instead, so that the keys stay usable, and records the error to show.
func (v *Vault) loadFirst(ctx context.Context, o *openVault, unlocked *opener.Unlocked, kept backend.Keyring, f *vaultfile.File) error {
	err := v.load(ctx, o, unlocked.Keyring, f)
	if refused := unlocked.Refused; refused != nil && err == nil {
		o.refused = openerError(v.name, refused)
	}
	if err == nil || kept.Deks == nil || !refusedKeyring(err) {
		return err
	}
	last := unlocked.Keyring
	last.Deks, last.DeksVersion = kept.Deks, kept.DeksVersion
	// The kept deks' KEK may have been retired: then load both kept objects. The
	// opener has checked that this identity is in the newer members.
	if v.load(ctx, o, last, f) != nil && v.load(ctx, o, kept, f) != nil {
		return err
	}
	o.refused = err
	return nil
}

// refusedKeyring reports whether err is about the content of a keyring.
func refusedKeyring(err error) bool {
	return errors.Is(err, keeper.ErrDamaged) || errors.Is(err, keeper.ErrRollback)
}

// seen returns what this device has accepted of the keyring. It omits an unreadable
// copy: the pins still protect, if less.
func (v *Vault) seen(st *state.Vault) (opener.Seen, error) {
	pins, err := st.Pins()
	if err != nil {
		return opener.Seen{}, err
	}
	seen := opener.Seen{Pins: pins}
	if seen.Kept, _, err = st.Keyring(); err != nil && !errors.Is(err, state.ErrNone) {
		v.d.Log.Warn("the keyring kept on this device can't be read", "vault", v.name, "err", err)
	}
	return seen, nil
}

// known returns the same for a keeper.
func known(st *state.Vault, seen opener.Seen) (keeper.Known, error) {
	replaced, err := st.Replaced()
	return keeper.Known{
		Known:    keyring.Known{Pins: seen.Pins, Last: seen.Kept.Deks},
		Replaced: replaced,
	}, err
}

// openBoth opens the identity while it gives the keeper the vault file. The first
// failure cancels the other.
func (v *Vault) openBoth(ctx context.Context, o *openVault, seen opener.Seen, job *opener.Unlock, open handsOver) (*vaultfile.File, *opener.Unlocked, error) {
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var given sync.WaitGroup
	var f *vaultfile.File
	var fileErr error
	given.Go(func() {
		v.noteClock(ctx, v.d.State.Vault(o.id))
		if f, fileErr = v.readFile(); fileErr == nil {
			fileErr = v.give(both, o, f)
		}
		if fileErr != nil {
			cancel(fileErr)
		}
	})
	unlocked, err := open(both, o.keeper, job, seen)
	if err != nil {
		cancel(err)
	}
	given.Wait()
	if err == nil || fileErr != nil && errors.Is(context.Cause(both), fileErr) {
		err = fileErr
	}
	return f, unlocked, err
}

func (v *Vault) identityOf(st *state.Vault) (identity id.Identity, err error) {
	b, err := st.Blob(identityBlob)
	switch {
	case errors.Is(err, state.ErrNone):
		return identity, nil
	case err != nil:
		return identity, err
	case len(b) != len(identity):
		return identity, errors.New("read this device's identity: wrong length")
	}
	return id.Identity(b), nil
}

// newOpen returns a newly unlocked vault. asked is a moment before the master key and
// the backend were asked.
func (v *Vault) newOpen(k *keeper.Client, vaultID id.Vault, asked clock.Instant) *openVault {
	now := time.Now()
	o := &openVault{keeper: k, id: vaultID, stale: make(chan struct{}, 1), since: now}
	if most := time.Duration(v.config().MaxUnlocked); most != 0 {
		o.until = asked.After(most)
	}
	o.told = &snapshot{}
	o.loaded.Store(o.told)
	o.access.Store(&access{refreshed: now, proved: asked, ends: asked.After(time.Duration(v.config().Lease))})
	return o
}

// Delays after failed attempts to unlock a vault: minDelay after the first, doubled
// by each further one.
const (
	minDelay = 100 * time.Millisecond
	maxDelay = 10 * time.Second
)

// slowdown delays guesses at one vault's passphrase.
type slowdown struct {
	delay time.Duration
	until time.Time // when the next attempt may start
}

func (s *slowdown) failed(now time.Time) {
	s.delay = min(max(minDelay, 2*s.delay), maxDelay)
	s.until = now.Add(s.delay)
}

// slowDown waits until the next attempt may start.
func (v *Vault) slowDown(ctx context.Context) error {
	v.mu.Lock()
	wait := time.Until(v.slow.until)
	v.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noteAttempt counts a wrong passphrase. A right one ends the slowdown.
func (v *Vault) noteAttempt(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		v.slow = slowdown{}
	case errors.Is(err, &opener.Error{Kind: opener.WrongPassphrase}):
		v.slow.failed(time.Now())
	}
}
