package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// loaded is what a keeper has loaded and the front hasn't taken over yet.
type loaded struct {
	*keeper.Loaded
	keyring opener.Fetched
	file    *vaultfile.File
	waiting keyring.Update
}

// load gives keyring and vault file to the keeper, and remembers what it accepted.
func (v *vault) load(ctx context.Context, o *openVault, fetched opener.Fetched, f *vaultfile.File) error {
	l, err := v.loadKeeper(ctx, o, fetched, f)
	if err != nil {
		return err
	}
	return v.takeOver(ctx, o, l)
}

// loadKeeper is load without the front's part.
func (v *vault) loadKeeper(ctx context.Context, o *openVault, fetched opener.Fetched, f *vaultfile.File) (*loaded, error) {
	if err := v.give(ctx, o, f); err != nil {
		return nil, err
	}
	waiting, _, err := v.waiting(o.id, false)
	if err != nil {
		return nil, err
	}
	l, err := o.keeper.Load(ctx, o.known, fetched.Members, fetched.Deks, waiting)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	return &loaded{l, fetched, f, waiting}, nil
}

// takeOver is the front's part.
func (v *vault) takeOver(ctx context.Context, o *openVault, l *loaded) error {
	v.mu.Lock()
	changed := o.take(l.Loaded, l.keyring, l.file, l.waiting)
	v.mu.Unlock()
	if changed { // kept last: nobody waits for it
		defer func() {
			select {
			case o.stale <- struct{}{}:
			default:
			}
		}()
	}
	o.file, o.known.Last = l.file, nil // from now on the keeper has the last one
	o.known.Replaced = l.Replaced
	if o.noted == l.Pins && slices.Equal(o.replaced, l.Replaced) {
		return nil // the same keyring: only the vault file changed
	}
	err := v.remember(ctx, o)
	var disk *durable.WriteError
	if errors.As(err, &disk) {
		// A full or failing disk under the device state must keep nobody from
		// their keys. It's tried again at the next load.
		v.d.log.Warn("what this device has seen of the keyring can't be kept", "vault", v.name, "err", err)
		v.setProblem(control.Errorf(control.CodeFailed, "Make room in "+v.d.o.Paths.State+".", "vault %q: %v", v.name, err))
		return nil
	}
	return err
}

// give gives the keeper a vault file: all of it the first time, then what changed,
// of which the keeper can't tell whose it is.
func (v *vault) give(ctx context.Context, o *openVault, f *vaultfile.File) (err error) {
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
	o.given = f
	return nil
}

// remember keeps on this device what was accepted: an older keyring is refused
// from now on, and a revision that was replaced doesn't serve again.
func (v *vault) remember(ctx context.Context, o *openVault) error {
	st := v.d.state.Vault(o.id)
	if err := v.d.state.Bind(ctx, v.name, o.id); err != nil {
		return fmt.Errorf("remember vault %q: %w", v.name, err)
	}
	steps := []func() error{
		func() error { return v.keepKeyring(ctx, o, o.keyring) },
		func() error { return st.Advance(ctx, state.Pins(o.loaded.Pins)) },
		func() error {
			if slices.Equal(o.replaced, o.loaded.Replaced) {
				return nil
			}
			return st.SetReplaced(ctx, o.loaded.Replaced)
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
	o.noted, o.replaced = o.loaded.Pins, o.loaded.Replaced
	return nil
}

// keepKeyring keeps a keyring for the time without network, unless that one was
// kept last.
func (v *vault) keepKeyring(ctx context.Context, o *openVault, k opener.Fetched) error {
	if k.MembersVersion == o.kept.members && k.DeksVersion == o.kept.deks {
		return nil
	}
	err := v.d.state.Vault(o.id).SetKeyring(ctx, state.Keyring{
		Members: k.Members, Deks: k.Deks, Fetched: time.Now(),
		MembersVersion: string(k.MembersVersion), DeksVersion: string(k.DeksVersion),
	})
	if err == nil {
		o.kept.members, o.kept.deks = k.MembersVersion, k.DeksVersion
	}
	return err
}

// rememberKeys keeps the public keys to list while locked. They're a cache, so
// nobody waits for this.
func (v *vault) rememberKeys(ctx context.Context, o *openVault) {
	st := v.d.state.Vault(o.id)
	var err error
	if v.config().PublicCache {
		err = st.SetPublicKeys(ctx, v.publicKeys(o))
	} else {
		err = st.DropPublicKeys(ctx)
	}
	if err != nil {
		v.d.log.Warn("public keys to list while locked can't be kept", "vault", v.name, "err", err)
	}
}

// publicKeys is what is listed of an open vault once it's locked.
func (v *vault) publicKeys(o *openVault) (keys []state.PublicKey) {
	if !v.config().PublicCache {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range o.keys {
		if len(f.meta.Public) > 0 {
			keys = append(keys, state.PublicKey{
				Item: f.item, Revision: f.revision, Name: f.meta.Name, Comment: f.meta.Comment,
				Public: f.meta.Public, Certificate: f.meta.Certificate,
				Destinations: f.meta.Policy.Destinations, Confirm: f.meta.Policy.Confirm,
			})
		}
	}
	return keys
}
