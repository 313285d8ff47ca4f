package daemon

import "context"

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
