package daemon

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"vigil/internal/backend"
	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/refresh"
	"vigil/internal/ring"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// identityBlob is the state blob that holds this device's identity in a vault.
const identityBlob = "identity"

// unlock starts a keeper and has an opener hand it what the passphrase and the
// master key open. already reports that there was nothing to do.
func (v *vault) unlock(ctx context.Context, passphrase *os.File, ask opener.Asker) (already bool, err error) {
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if _, err := v.current(); err == nil {
		return true, nil
	}
	if err := v.slowDown(ctx); err != nil {
		return false, err
	}
	o, err := v.openWith(ctx, passphrase, ask)
	v.noteAttempt(err)
	if err != nil {
		return false, err
	}
	return false, v.install(ctx, o)
}

// openWith does the work of unlock and returns the open vault, its keys loaded.
func (v *vault) openWith(ctx context.Context, passphrase *os.File, ask opener.Asker) (*openVault, error) {
	vaultID, _, err := v.readHeader()
	if err != nil {
		return nil, err
	}
	st := v.d.state.Vault(vaultID)
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
		v.d.log.Warn("no unlock without network", "vault", v.name, "err", err)
	}
	k, err := keeper.Start(ctx, keeper.Options{Exe: v.d.o.Exe, Vault: vaultID})
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
	f, unlocked, err := v.openBoth(ctx, o, opener.Request{Seen: &seen, Unlock: &opener.Unlock{
		Place: v.place(vaultID, identity), Passphrase: 1, Keeper: 2, Offline: off, KeepOffline: v.keepOffline(),
	}}, passphrase, ask)
	if err != nil {
		k.Close()
		v.deniedAtUnlock(ctx, st, err)
		return nil, v.movedMaster(st, err)
	}
	o.identity = unlocked.Identity
	v.d.calls.add(unlocked.Calls)
	o.share = seenShare{unlocked.Share, unlocked.Digest}
	if unlocked.Offline {
		o.offline, o.proved = true, clock.Instant{}
		o.leaseEnds = clock.Earlier(o.leaseEnds, clock.Now().After(offlineLease(off)))
		if unlocked.Why != nil {
			o.offlineWhy = unlocked.Why.Message
		}
	} else {
		v.judge(ctx, st, refresh.Proved, "")
	}
	if err := v.rememberShare(ctx, st, unlocked); err != nil {
		v.d.log.Warn("no share is kept for the time without network", "vault", v.name, "err", err)
	}
	if err := v.loadFirst(ctx, o, unlocked, seen.Kept, f); err != nil {
		k.Close()
		return nil, err
	}
	return o, nil
}

// loadFirst loads what the opener fetched. A deks that isn't to be used must
// not keep anybody from what they had: the one that this device has kept takes
// its place, and what is wrong is shown.
func (v *vault) loadFirst(ctx context.Context, o *openVault, unlocked *opener.Unlocked, kept opener.Fetched, f *vaultfile.File) error {
	err := v.load(ctx, o, unlocked.Keyring, f)
	if refused := unlocked.Refused; refused != nil && err == nil {
		o.refused = openerError(v.name, refused)
	}
	if err == nil || kept.Deks == nil || !refusedKeyring(err) {
		return err
	}
	last := unlocked.Keyring
	last.Deks, last.DeksVersion = kept.Deks, kept.DeksVersion
	// The KEK of the kept one may have been retired meanwhile: then both of them. The
	// opener has looked that this identity is still in the newer members.
	if v.load(ctx, o, last, f) != nil && v.load(ctx, o, kept, f) != nil {
		return err
	}
	o.refused = err
	return nil
}

// refusedKeyring tells whether err is about what a keyring holds.
func refusedKeyring(err error) bool {
	return errors.Is(err, keeper.ErrDamaged) || errors.Is(err, keeper.ErrRollback)
}

// seen is what this device has accepted of the keyring. A copy that can't be read
// is left out: the pins hold without it, if not as much.
func (v *vault) seen(st *state.Vault) (opener.Seen, error) {
	pins, err := st.Pins()
	if err != nil {
		return opener.Seen{}, err
	}
	seen := opener.Seen{Members: pins.Members, Deks: pins.Deks}
	k, err := st.Keyring()
	switch {
	case err == nil:
		seen.Kept = opener.Fetched{
			Members: k.Members, MembersVersion: backend.Version(k.MembersVersion),
			Deks: k.Deks, DeksVersion: backend.Version(k.DeksVersion),
		}
	case !errors.Is(err, state.ErrNone):
		v.d.log.Warn("the keyring kept on this device can't be read", "vault", v.name, "err", err)
	}
	return seen, nil
}

// known is the same for a keeper.
func known(st *state.Vault, seen opener.Seen) (keeper.Known, error) {
	replaced, err := st.Replaced()
	return keeper.Known{
		Known:    ring.Known{Pins: ring.Pins{Members: seen.Members, Deks: seen.Deks}, Last: seen.Kept.Deks},
		Replaced: replaced,
	}, err
}

// openBoth opens the identity and, while the opener is at it, gives the keeper
// the vault file. The first of the two to fail ends the other.
func (v *vault) openBoth(ctx context.Context, o *openVault, req opener.Request, passphrase *os.File, ask opener.Asker) (*vaultfile.File, *opener.Unlocked, error) {
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var given sync.WaitGroup
	var f *vaultfile.File
	var fileErr error
	given.Go(func() {
		v.noteClock(ctx, v.d.state.Vault(o.id))
		if f, fileErr = v.readFile(); fileErr == nil {
			fileErr = v.give(both, o, f)
		}
		if fileErr != nil {
			cancel(fileErr)
		}
	})
	unlocked, err := v.handOver(both, o.keeper, req, passphrase, ask)
	if err != nil {
		cancel(err)
	}
	given.Wait()
	if err == nil || fileErr != nil && errors.Is(context.Cause(both), fileErr) {
		err = fileErr
	}
	return f, unlocked, err
}

func (v *vault) identityOf(st *state.Vault) (identity id.Identity, err error) {
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

// handOver connects an opener with the keeper, and lets it open the identity.
func (v *vault) handOver(ctx context.Context, k *keeper.Client, req opener.Request, passphrase *os.File, ask opener.Asker) (*opener.Unlocked, error) {
	var reply opener.Reply
	attach := func(ctx context.Context, end *os.File) error {
		_, err := k.AttachIdentity(ctx, end)
		return err
	}
	if err := v.between(ctx, attach, []*os.File{passphrase}, req, &reply, ask); err != nil {
		return nil, err
	}
	if reply.Unlock == nil {
		return nil, errors.New("unlock: the opener gave no answer")
	}
	return reply.Unlock, nil
}

// pair is a private socketpair between an opener and a keeper. The front passes
// on both ends and keeps neither.
type pair struct{ openers, keepers *os.File }

func newPair() (*pair, error) {
	openers, keepers, err := ipc.ChildPair()
	if err != nil {
		return nil, err
	}
	return &pair{openers, keepers}, nil
}

// close closes what wasn't passed on. It may be called again.
func (p *pair) close() {
	_ = p.openers.Close()
	_ = p.keepers.Close()
}

// between starts an opener for one job that meets a keeper, to which attach
// passes the keeper's end. The socketpair is the opener's file after files.
func (v *vault) between(ctx context.Context, attach func(context.Context, *os.File) error, files []*os.File, req opener.Request, reply *opener.Reply, ask opener.Asker) error {
	p, err := newPair()
	if err != nil {
		return err
	}
	defer p.close()
	c, err := opener.Start(ctx, v.d.o.Opener, req.VaultID(), append(files, p.openers)...)
	if err != nil {
		return openerError(v.name, err)
	}
	*reply, err = v.meet(ctx, c, p, attach, req, ask)
	return err
}

// meet runs the job of an opener that has its end of the pair already, and ends
// the opener.
func (v *vault) meet(ctx context.Context, c *opener.Client, p *pair, attach func(context.Context, *os.File) error, req opener.Request, ask opener.Asker) (opener.Reply, error) {
	_ = p.openers.Close()
	var attached sync.WaitGroup
	var attachErr error
	attached.Go(func() {
		attachErr = attach(ctx, p.keepers)
		_ = p.keepers.Close() // so that an opener doesn't wait for a keeper that gave up
	})
	reply, err := c.Do(ctx, req, ask)
	c.Close() // the opener's end closes with it, so that the keeper stops waiting
	attached.Wait()
	switch {
	case err != nil:
		return reply, openerError(v.name, err)
	case attachErr != nil:
		return reply, keeperError(v.name, attachErr)
	}
	return reply, nil
}

// newOpen is an open vault, fresh from master key and backend, which were asked
// at a moment or later.
func (v *vault) newOpen(k *keeper.Client, vaultID id.Vault, asked clock.Instant) *openVault {
	now := time.Now()
	return &openVault{
		keeper: k, id: vaultID, stale: make(chan struct{}, 1), since: now, refreshed: now,
		proved: asked, leaseEnds: asked.After(time.Duration(v.config().Lease)),
	}
}

// install makes an open vault the current one and watches its keeper.
func (v *vault) install(ctx context.Context, o *openVault) error {
	defer context.AfterFunc(ctx, o.keeper.Close)()
	if err := o.keeper.SetDeadlines(ctx, time.Duration(v.config().Idle), o.leaseEnds); err != nil {
		o.keeper.Close()
		return keeperError(v.name, err)
	}
	v.mu.Lock()
	if ctx.Err() != nil { // locked meanwhile
		v.mu.Unlock()
		o.keeper.Close()
		return control.Errorf(control.CodeLocked, "", "vault %q was locked while it was being unlocked", v.name)
	}
	v.open = o
	if o.noted == o.loaded.Pins { // else load has said what can't be kept
		v.problem = nil
	}
	if o.refused != nil {
		v.problem = control.AsError(o.refused)
	}
	v.mu.Unlock()
	v.show(o)
	alive, ended := context.WithCancel(context.WithoutCancel(ctx))
	v.d.watch.Go(func() { v.live(alive, o) })
	v.d.watch.Go(func() {
		<-o.keeper.Done()
		ended() // and with it a refresh under way
		v.mu.Lock()
		byItself, problem := v.open == o, v.problem
		if byItself {
			v.open = nil
		}
		v.mu.Unlock()
		if byItself {
			r := v.ended(o, problem)
			v.d.log.Warn("vault locked: its keeper ended", "vault", v.name, "why", r.Reason, "err", o.keeper.Exit())
			v.d.why.note(r)
			v.listLocked(v.publicKeys(o))
		}
	})
	return nil
}

// lock ends the keeper, whatever job is under way, and reports whether there was one.
func (v *vault) lock() bool {
	v.mu.Lock()
	o := v.open
	v.open = nil
	for j := range v.jobs {
		j.stop()
	}
	v.mu.Unlock()
	if o == nil {
		return false
	}
	o.keeper.Close()
	v.setProblem(nil) // what stood in the way of a refresh; unlocking looks again
	v.listLocked(v.publicKeys(o))
	return true
}

// lockAndWait is lock for whoever isn't a job of the vault. When it returns, the
// jobs that were under way are over too: their openers and keepers have ended,
// so no process has a secret of the vault any more.
func (v *vault) lockAndWait(ctx context.Context) bool {
	v.mu.Lock()
	jobs := slices.Collect(maps.Keys(v.jobs))
	v.mu.Unlock()
	locked := v.lock()
	for _, j := range jobs {
		select {
		case <-j.ended:
		case <-ctx.Done():
		}
	}
	return locked
}
