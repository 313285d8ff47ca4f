package vault

import (
	"bytes"
	"context"
	"errors"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// KeyringRestore resolves this device's refusal of the backend's keyring: it puts this
// device's last good keyring back into the backend or, with Accept, discards the record of
// a newer one. It takes the passphrase first, which must open the keyring that this device
// keeps. One opener does it all, as it may not be possible to read the passphrase twice.
func (v *Vault) KeyringRestore(ctx context.Context, ask opener.Asker, req *control.KeyringRestoreRequest) (*control.KeyringRestoreReply, error) {
	f, err := v.readFile()
	if err != nil {
		return nil, err
	}
	p, err := newPair()
	if err != nil {
		return nil, err
	}
	defer p.close()
	alive, kill := context.WithCancel(ctx)
	defer kill()
	c, err := v.d.Opener.Start(alive, f.Vault(), req.Passphrase, p.openers)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	defer c.Close()
	// A lock interrupts each step, and a killed opener ends them all.
	step := func(do func(context.Context) error) error {
		_, err := inTurn(ctx, v, func(ctx context.Context) (struct{}, error) {
			defer context.AfterFunc(ctx, kill)()
			return struct{}{}, do(ctx)
		})
		return err
	}
	if err := step(func(ctx context.Context) error { return v.consentToRestore(ctx, c, f.Vault(), ask) }); err != nil {
		return nil, err
	}
	v.lock() // so that the unlock makes a keeper of the keyring that is in place then
	if err := step(func(ctx context.Context) error { return v.putKeyringBack(ctx, c, f.Vault(), req, ask) }); err != nil {
		return nil, err
	}
	_, err = v.unlock(ctx, func(ctx context.Context, k *keeper.Client, job *opener.Unlock, seen opener.Seen) (*opener.Unlocked, error) {
		defer context.AfterFunc(ctx, kill)()
		return meet(ctx, v, c, p, attachIdentity(k), job, seen, ask)
	})
	if err != nil {
		return nil, err
	}
	return &control.KeyringRestoreReply{Vault: v.Status()}, nil
}

// consentToRestore takes the passphrase for a restore.
func (v *Vault) consentToRestore(ctx context.Context, c *opener.Client, vault id.Vault, ask opener.Asker) error {
	identity, err := v.identityOf(v.d.State.Vault(vault))
	if err != nil {
		return err
	}
	job, seen, err := v.consentJob(vault, identity, id.HashOf([]byte("keyring restore")))
	if err != nil {
		return err
	}
	job.Kept = true
	_, err = v.consentBy(ctx, c, job, seen, ask, control.Refusal{What: "keyring restore"})
	return err
}

func (v *Vault) putKeyringBack(ctx context.Context, c *opener.Client, vault id.Vault, req *control.KeyringRestoreRequest, ask opener.Asker) error {
	st := v.d.State.Vault(vault)
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
	place := v.place(vault, id.Identity{})
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
