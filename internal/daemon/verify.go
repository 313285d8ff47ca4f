package daemon

import (
	"context"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// Verify has every layer and every item of a vault checked.
func (h *handler) Verify(ctx context.Context, _ *control.Call, req *control.VerifyRequest) (*control.VerifyReply, error) {
	return withUnlocked(ctx, h.d, req.Vault, func(ctx context.Context, v *vault, o *openVault) (*control.VerifyReply, error) {
		return v.verify(ctx, o)
	})
}

func (v *vault) verify(ctx context.Context, o *openVault) (*control.VerifyReply, error) {
	f, err := v.readFileAfter(o.file)
	if err != nil {
		return nil, err
	}
	r, err := v.measure(o, f)
	if err != nil {
		return nil, err
	}
	r.FileBytes = f.Size()
	if err := v.give(ctx, o, f); err != nil {
		return nil, err
	}
	problems, err := o.keeper.Verify(ctx)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	r.Problems = append(r.Problems, problems...)
	return r, nil
}

// measure counts what there is, and reads both keyring objects once more.
func (v *vault) measure(o *openVault, f *vaultfile.File) (*control.VerifyReply, error) {
	r := &control.VerifyReply{Vault: v.name, MembersBytes: len(o.keyring.Members), DeksBytes: len(o.keyring.Deks), Pending: o.pending}
	for i := range f.Damaged() {
		r.Problems = append(r.Problems, f.Damaged()[i].Error())
	}
	members, err := keyring.ParseMembers(o.keyring.Members, o.id)
	if err != nil {
		return nil, err
	}
	deks, err := keyring.ParseDeks(o.keyring.Deks, o.id)
	if err != nil {
		return nil, err
	}
	w, _, err := v.waiting(o.id, false)
	if err != nil {
		return nil, err
	}
	items := map[id.Item]bool{}
	view := f.See(keyring.WithPending(deks, w), nil)
	for i, state := range view.States {
		switch state {
		case vaultfile.Ready, vaultfile.Outdated:
			r.Heads++
			items[f.Revisions()[i].Item] = true
		case vaultfile.Superseded:
			r.Superseded++
		case vaultfile.WaitingForKey:
			r.WaitingForKey++
		}
	}
	r.WaitingForLine = len(view.Missing)
	r.Items, r.Deleted = len(items), len(deks.Tombstones())
	r.Identities, r.Records = len(members.Identities()), len(members.Records())
	r.Epoch, r.KEK = deks.Epoch(), members.KEK()
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	r.Generations = len(generations)
	return r, nil
}
