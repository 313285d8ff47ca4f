package vault

import (
	"bytes"
	"context"
	"errors"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// KeyringRestore resolves this device's refusal of the backend's keyring.
func (v *Vault) KeyringRestore(ctx context.Context, ask opener.Asker, req *control.KeyringRestoreRequest) (*control.KeyringRestoreReply, error) {
	if err := v.restoreKeyring(ctx, req, ask); err != nil {
		return nil, err
	}
	if _, err := v.unlock(ctx, req.Passphrase, ask); err != nil {
		return nil, err
	}
	return &control.KeyringRestoreReply{Vault: v.Status()}, nil
}

// restoreKeyring puts this device's last good keyring back into the backend or, with
// Accept, discards the record of a newer one. It locks the vault, so the next unlock
// takes the passphrase.
func (v *Vault) restoreKeyring(ctx context.Context, req *control.KeyringRestoreRequest, ask opener.Asker) error {
	v.lock()
	_, err := inTurn(ctx, v, func(ctx context.Context) (struct{}, error) { return struct{}{}, v.putKeyringBack(ctx, req, ask) })
	return err
}

func (v *Vault) putKeyringBack(ctx context.Context, req *control.KeyringRestoreRequest, ask opener.Asker) error {
	f, err := v.readFile()
	if err != nil {
		return err
	}
	st := v.d.State.Vault(f.Vault())
	if req.Accept {
		return st.Reset(ctx, keyring.Pins{})
	}
	kept, _, err := st.Keyring()
	if errors.Is(err, state.ErrNone) {
		return control.Errorf(control.CodeNotFound, "Take the backend's with --accept, if that's what you want.", "this device has kept no keyring of vault %q", v.name)
	}
	if err != nil {
		return err
	}
	c, err := v.d.Opener.Start(ctx, f.Vault())
	if err != nil {
		return openerError(v.name, err)
	}
	defer c.Close()
	place := v.place(f.Vault(), id.Identity{})
	for object, data := range map[backend.Object][]byte{backend.Members: kept.Members, backend.Deks: kept.Deks} {
		if err := v.putBack(ctx, c, place, object, data, ask); err != nil {
			return err
		}
	}
	return nil
}

// putBack replaces an object in the backend, whatever its version.
func (v *Vault) putBack(ctx context.Context, c *opener.Client, place opener.Place, object backend.Object, data []byte, ask opener.Asker) error {
	have, err := opener.Do(ctx, c, &opener.Fetch{Place: place}, opener.Seen{}, ask)
	if errors.Is(err, &opener.Error{Kind: opener.Missing}) {
		have = &backend.Keyring{}
	} else if err != nil {
		return openerError(v.name, err)
	}
	old, version := have.Members, have.MembersVersion
	if object == backend.Deks {
		old, version = have.Deks, have.DeksVersion
	}
	if bytes.Equal(old, data) {
		return nil
	}
	if _, err := opener.Do(ctx, c, &opener.Put{Place: place, Object: object, Data: data, Expect: version}, opener.Seen{}, ask); err != nil {
		return openerError(v.name, err)
	}
	v.d.Log.Info("put this device's keyring back", "vault", v.name, "object", object, "bytes", len(data))
	return nil
}
