package daemon

import (
	"context"

	"vigil/internal/control"
)

// A job is what needs a vault to stay as it is meanwhile: its file, its device
// state, its keeper. A vault does one at a time, and a lock ends the context of
// the one under way and of those that wait. Each of these waits for the turn,
// gives the job what its name says, and gives the turn back.

// withVault does a job of the vault called name, locked or not.
func withVault[R any](ctx context.Context, d *Daemon, name string, do func(context.Context, *vault) (R, error)) (none R, _ error) {
	v, err := d.find(name)
	if err != nil {
		return none, err
	}
	return inTurn(ctx, v, func(ctx context.Context) (R, error) { return do(ctx, v) })
}

// withUnlocked does a job of the vault called name, which must be unlocked when
// the turn comes.
func withUnlocked[R any](ctx context.Context, d *Daemon, name string, do func(context.Context, *vault, *openVault) (R, error)) (R, error) {
	return withVault(ctx, d, name, func(ctx context.Context, v *vault) (none R, _ error) {
		o, err := v.current()
		if err != nil {
			return none, err
		}
		return do(ctx, v, o)
	})
}

// withKey does a job of the unlocked vault that has the key called key: of the
// vault called name or, where name is "", of any. The fact is of the time before
// the turn came.
func withKey[R any](ctx context.Context, d *Daemon, name, key string, do func(context.Context, *vault, *openVault, *fact) (R, error)) (none R, _ error) {
	v, f, err := d.resolve(name, key)
	if err != nil {
		return none, err
	}
	return inTurn(ctx, v, func(ctx context.Context) (none R, _ error) {
		o, err := v.current()
		if err != nil {
			return none, err
		}
		return do(ctx, v, o, f)
	})
}

// inTurn does a job of a vault that was found already.
func inTurn[R any](ctx context.Context, v *vault, do func(context.Context) (R, error)) (none R, _ error) {
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	return do(ctx)
}

// job is one that has the vault's turn or waits for it.
type job struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when it's over
}

// beginJob waits for the vault's turn. Locking ends the job's context, also
// while it waits: what was asked for before a lock doesn't undo it.
func (v *vault) beginJob(ctx context.Context) (_ context.Context, done func(), err error) {
	return v.beginWith(ctx, v.job.take)
}

// beginFirst is beginJob for what the daemon does unasked, which goes before all
// that clients ask for: it is how revocation is noticed.
func (v *vault) beginFirst(ctx context.Context) (_ context.Context, done func(), err error) {
	return v.beginWith(ctx, v.job.takeFirst)
}

func (v *vault) beginWith(ctx context.Context, take func(context.Context) error) (_ context.Context, done func(), err error) {
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	j := &job{stop: cancel, ended: make(chan struct{})}
	v.mu.Lock()
	v.jobs[j] = true
	v.mu.Unlock()
	end := func() {
		cancel()
		v.mu.Lock()
		delete(v.jobs, j)
		v.mu.Unlock()
		close(j.ended)
	}
	if err := take(ctx); err != nil {
		end()
		if asked.Err() == nil {
			err = control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "vault %q was locked meanwhile", v.name)
		}
		return nil, nil, err
	}
	return ctx, func() {
		v.job.give()
		end()
	}, nil
}
