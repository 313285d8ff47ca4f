package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/vaultfile"
)

// load gives the keyring and the vault file to the keeper, and records what it
// accepted. If f is nil, the keeper uses the file that it has.
func (v *Vault) load(ctx context.Context, o *openVault, fetched backend.Keyring, f *vaultfile.File) error {
	l, err := v.loadKeeper(ctx, o, fetched, f)
	if err != nil {
		return err
	}
	return v.takeOver(ctx, o, l)
}

// loadKeeper is the keeper's part of load.
func (v *Vault) loadKeeper(ctx context.Context, o *openVault, fetched backend.Keyring, f *vaultfile.File) (*snapshot, error) {
	if f != nil || o.given == nil {
		if err := v.give(ctx, o, f); err != nil {
			return nil, err
		}
	}
	waiting, _, err := v.waiting(o.id, false)
	if err != nil {
		return nil, err
	}
	l, err := o.keeper.Load(ctx, o.known, fetched.Members, fetched.Deks, waiting)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	return o.hear(&loadedParts{l, fetched, o.given, waiting})
}

// hear makes the snapshot of what the keeper tells of a load. The keeper tells of an
// item once, so it counts even if the load isn't taken over.
func (o *openVault) hear(l *loadedParts) (*snapshot, error) {
	next, changed, err := o.told.next(o.id, l)
	if err != nil {
		return nil, err
	}
	next.changed = changed || o.told != o.now()
	o.told = next
	return next, nil
}

// takeOver is the front's part of load.
func (v *Vault) takeOver(ctx context.Context, o *openVault, next *snapshot) error {
	o.loaded.Store(next)
	if next.changed { // last, as nothing waits for it
		defer func() {
			select {
			case o.stale <- struct{}{}:
			default:
			}
		}()
	}
	o.known.Last = nil // the keeper has the last one now
	o.known.Replaced = next.replaced
	if o.noted == next.pins && slices.Equal(o.replaced, next.replaced) {
		return nil // only the vault file changed
	}
	err := v.remember(ctx, o, next)
	var disk *durable.WriteError
	if errors.As(err, &disk) {
		// A full or failing disk under the device state must not make keys unusable.
		// The next load tries again.
		v.d.Log.Warn("what this device has seen of the keyring can't be kept", "vault", v.name, "err", err)
		v.setProblem(control.Errorf(control.CodeFailed, "", "vault %q: %v", v.name, err))
		return nil
	}
	return err
}

// give gives the keeper a vault file: all of it the first time, then only the
// changes. It checks the vault's id, which the keeper can't see in changes.
func (v *Vault) give(ctx context.Context, o *openVault, f *vaultfile.File) (err error) {
	if f == nil {
		return errors.New("no vault file to load: the one that the keeper has is unknown")
	}
	if f.Vault() != o.id {
		return fileError(v, &vaultfile.VaultError{Line: 1, Expected: o.id, Found: f.Vault()})
	}
	base := o.given
	o.given = nil
	if base == nil {
		err = o.keeper.GiveFile(ctx, f.EncodeAll())
	} else if d := base.Delta(f); len(d.Add)+len(d.Drop) > 0 {
		err = o.keeper.ChangeFile(ctx, d)
	}
	if err != nil {
		return keeperError(v.name, err)
	}
	o.given = f.Index()
	if f.Size() >= largeFile {
		v.d.LargeRead()
	}
	return nil
}

// largeFile is the size in bytes from which on the memory that a vault file took is
// worth giving back to the system: of about 600 keys.
const largeFile = 1 << 20

// remember records on this device what was accepted. From then on, an older keyring
// and a replaced revision are refused.
func (v *Vault) remember(ctx context.Context, o *openVault, s *snapshot) error {
	st := v.d.State.Vault(o.id)
	if err := v.d.State.Bind(ctx, v.name, o.id); err != nil {
		return fmt.Errorf("remember vault %q: %w", v.name, err)
	}
	steps := []func() error{
		func() error { return v.keepKeyring(ctx, o, s.keyring) },
		func() error { return st.Advance(ctx, s.pins) },
		func() error {
			if slices.Equal(o.replaced, s.replaced) {
				return nil
			}
			return st.SetReplaced(ctx, s.replaced)
		},
		func() error {
			if had, err := v.identityOf(st); err == nil && had == o.identity {
				return nil
			}
			return st.SetBlob(ctx, identityBlob, o.identity[:])
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("remember vault %q: %w", v.name, err)
		}
	}
	o.noted, o.replaced = s.pins, s.replaced
	return nil
}

// keepKeyring keeps a copy of k for use without network, unless it is the one kept last.
func (v *Vault) keepKeyring(ctx context.Context, o *openVault, k backend.Keyring) error {
	if k.MembersVersion == o.kept.members && k.DeksVersion == o.kept.deks {
		return nil
	}
	err := v.d.State.Vault(o.id).SetKeyring(ctx, k, time.Now())
	if err == nil {
		o.kept.members, o.kept.deks = k.MembersVersion, k.DeksVersion
	}
	return err
}
