package vault

import (
	"context"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// Verify checks every layer and every item of the vault.
func (v *Vault) Verify(ctx context.Context, _ opener.Asker, req *control.VerifyRequest) (*control.VerifyReply, error) {
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.VerifyReply, error) {
		return v.verify(ctx, o, req.Report)
	})
}

func (v *Vault) verify(ctx context.Context, o *openVault, report func(done, total int)) (*control.VerifyReply, error) {
	f, err := v.readFile()
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
	problems, err := o.keeper.Verify(ctx, report)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	r.Problems = append(r.Problems, problems...)
	return r, nil
}

// measure counts the vault's parts.
func (v *Vault) measure(o *openVault, f *vaultfile.File) (*control.VerifyReply, error) {
	n := o.now()
	r := &control.VerifyReply{Vault: v.name, MembersBytes: len(n.keyring.Members), DeksBytes: len(n.keyring.Deks), Pending: n.pending}
	for i := range f.Damaged() {
		r.Problems = append(r.Problems, f.Damaged()[i].Error())
	}
	deks, err := n.deks()
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
			items[f.Lines()[i].Item] = true
		case vaultfile.Superseded:
			r.Superseded++
		case vaultfile.WaitingForKey:
			r.WaitingForKey++
		}
	}
	r.WaitingForLine = len(view.Missing)
	r.Items, r.Deleted = len(items), len(deks.Tombstones())
	r.Identities, r.Records = len(n.members.Identities()), len(n.members.Records())
	r.Epoch, r.KEK = deks.Epoch(), n.members.KEK()
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	r.Generations = len(generations)
	return r, nil
}
