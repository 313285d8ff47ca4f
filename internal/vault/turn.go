package vault

import (
	"context"
	"errors"

	"vigil/internal/control"
)

// A job needs the vault's file, device state and keeper to stay unchanged meanwhile.
// A vault runs one job at a time. A lock cancels the running job and those that wait.

// inTurn waits for the vault's turn, runs do and releases the turn.
func inTurn[R any](ctx context.Context, v *Vault, do func(context.Context) (R, error)) (none R, _ error) {
	asked := ctx
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	r, err := do(ctx)
	return r, v.lockedMeanwhile(asked, ctx, err)
}

// lockedMeanwhile returns the error of a job as what it follows from: if a lock has
// canceled the job's context, not that of the request that asked for it, the lock.
func (v *Vault) lockedMeanwhile(asked, ctx context.Context, err error) error {
	var known *failure
	if err == nil || ctx.Err() == nil || asked.Err() != nil {
		return err
	}
	if errors.As(err, &known) && known.shown.Code == control.CodeWrongPassphrase {
		return err
	}
	return &failure{control.Errorf(control.CodeLocked,
		"What was saved before the lock stays saved. Unlock it, and run the command again: vigilctl unlock --vault "+v.name,
		"vault %q was locked meanwhile, which interrupted this command", v.name), err}
}

// unlocked is inTurn for a vault that must be unlocked when its turn comes.
func unlocked[R any](ctx context.Context, v *Vault, do func(context.Context, *openVault) (R, error)) (none R, _ error) {
	return inTurn(ctx, v, func(ctx context.Context) (none R, _ error) {
		o, err := v.current()
		if err != nil {
			return none, err
		}
		return do(ctx, o)
	})
}

// job is a job that has the vault's turn or waits for it.
type job struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when the job is over
}

// beginJob waits for the vault's turn. A lock cancels the returned context, also
// while the job waits: a request made before a lock must not undo it.
func (v *Vault) beginJob(ctx context.Context) (_ context.Context, done func(), err error) {
	return v.beginWith(ctx, v.turn.Take)
}

// beginFirst is beginJob for the daemon's own jobs. They go ahead of clients' jobs,
// because they detect revocation.
func (v *Vault) beginFirst(ctx context.Context) (_ context.Context, done func(), err error) {
	return v.beginWith(ctx, v.turn.TakeFirst)
}

func (v *Vault) beginWith(ctx context.Context, take func(context.Context) error) (_ context.Context, done func(), err error) {
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
			err = control.Errorf(control.CodeLocked, "Nothing was changed. Unlock it, and run the command again: vigilctl unlock --vault "+v.name, "vault %q was locked before this command had its turn", v.name)
		}
		return nil, nil, err
	}
	return ctx, func() {
		v.turn.Give()
		end()
	}, nil
}
