package vault

import (
	"context"
	"errors"
	"io/fs"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// begunBlob is the state blob that says that this device has begun to make the
// vault, under the name that it holds.
const begunBlob = "begun"

// begin writes that down, before there is anything of the vault.
func (v *Vault) begin(ctx context.Context, vaultID id.Vault) error {
	return v.d.State.Vault(vaultID).SetBlob(ctx, begunBlob, []byte(v.name))
}

// begun reports of a vault whose file is empty whether this device has begun to
// make it and has not ended making it. An empty file that came from elsewhere isn't that.
func (v *Vault) begun(vaultID id.Vault) (bool, error) {
	names, err := v.d.State.Names()
	if err != nil {
		return false, err
	}
	if _, ended := names[v.name]; ended {
		return false, nil
	}
	name, err := v.d.State.Vault(vaultID).Blob(begunBlob)
	if errors.Is(err, state.ErrNone) {
		return false, nil
	}
	return string(name) == v.name, err
}

// vacant makes sure that no vault is overwritten. It returns the id of one that
// was begun, zero when there is none.
func (v *Vault) vacant() (begun id.Vault, err error) {
	head, empty, err := readVaultHeader(v.config().Path)
	if errors.Is(err, fs.ErrNotExist) {
		return begun, nil
	}
	if err != nil {
		return begun, control.Errorf(control.CodeFailed, "Nothing was changed.", "look at %s: %v", v.config().Path, err)
	}
	if vaultID, err := vaultfile.ParseHeader(head); err == nil && empty {
		ours, err := v.begun(vaultID)
		if err != nil {
			return begun, err
		}
		if ours {
			return vaultID, nil
		}
	}
	next := "Use it: vigilctl unlock --vault " + v.name + "."
	if names, err := v.d.State.Names(); err == nil && names[v.name] == (id.Vault{}) {
		next = "To open another device's vault here, ask to be let in: vigilctl identity request --help."
	}
	return begun, control.Errorf(control.CodeExists, next, "vault %q is there already: %s", v.name, v.config().Path)
}

// resume ends the creation of a vault whose keyring is stored already; without
// one it does nothing and reports that. The passphrase must be the one of the
// interrupted creation.
func (v *Vault) resume(ctx context.Context, req *control.InitRequest, begun id.Vault, ask opener.Asker) (whole bool, err error) {
	c, err := opener.Start(ctx, v.d.Opener, begun)
	if err != nil {
		return false, openerError(v.name, err)
	}
	defer c.Close()
	reply, err := c.Do(ctx, opener.Request{Fetch: &opener.Fetch{Place: v.place(begun, id.Identity{})}}, ask)
	if errors.Is(err, &opener.Error{Kind: opener.Missing}) {
		return false, nil
	}
	if err != nil {
		return false, openerError(v.name, err)
	}
	if reply.Fetch == nil {
		return false, errors.New("fetch keyring: the opener gave no answer")
	}
	if _, err := keyring.ParseMembers(reply.Fetch.Members, begun); err != nil {
		return false, nil // another vault's: the opener refuses to replace it
	}
	if err := config.WriteVault(ctx, v.d.Paths, v.name, v.config().VaultConfig); err != nil {
		return false, err
	}
	if err := v.slowDown(ctx); err != nil {
		return false, err
	}
	o, err := v.openWith(ctx, req.Passphrase, ask)
	v.noteAttempt(err)
	if err != nil {
		return false, err
	}
	if err := v.d.State.Vault(begun).DropBlob(ctx, begunBlob); err != nil {
		o.keeper.Close()
		return false, err
	}
	if !req.Unlock {
		o.keeper.Close()
		return true, nil
	}
	return true, v.install(ctx, o)
}
