package vault

import (
	"context"

	"vigil/internal/control"
)

// A job is what needs a vault to stay as it is meanwhile: its file, its device
// state, its keeper. A vault does one at a time, and a lock ends the context of
// the one under way and of those that wait.

// inTurn waits for the vault's turn, does a job and gives the turn back.
func inTurn[R any](ctx context.Context, v *Vault, do func(context.Context) (R, error)) (none R, _ error) {
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	return do(ctx)
}

// unlocked does a job of a vault that must be unlocked when the turn comes.
func unlocked[R any](ctx context.Context, v *Vault, do func(context.Context, *openVault) (R, error)) (none R, _ error) {
	return inTurn(ctx, v, func(ctx context.Context) (none R, _ error) {
		o, err := v.current()
		if err != nil {
			return none, err
		}
		return do(ctx, o)
	})
}

// job is one that has the vault's turn or waits for it.
type job struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when it's over
}

// beginJob waits for the vault's turn. Locking ends the job's context, also
// while it waits: what was asked for before a lock doesn't undo it.
func (v *Vault) beginJob(ctx context.Context) (_ context.Context, done func(), err error) {
	return v.beginWith(ctx, v.turn.Take)
}

// beginFirst is beginJob for what the daemon does unasked, which goes before all
// that clients ask for: it is how revocation is noticed.
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
			err = control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "vault %q was locked meanwhile", v.name)
		}
		return nil, nil, err
	}
	return ctx, func() {
		v.turn.Give()
		end()
	}, nil
}
