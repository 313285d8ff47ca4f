package job

import (
	"context"
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/opener"
)

// maxUnknown bounds the identities among which a device looks for its own. Each costs a
// call of the master key, and one whose share it opens a derivation.
const maxUnknown = 16

// mine returns the identities that may be this device's: the one it knows or the only
// one. A device whose state folder is lost, as after a restore, knows none: then they
// are those whose share its master key opens. It asks before anything is derived, so
// that the costs which other identities have chosen aren't paid here.
func (j *job) mine(ctx context.Context, p opener.Place, members *keyring.Members) ([]id.Identity, error) {
	all := members.Identities()
	switch {
	case !p.Identity.IsZero():
		return []id.Identity{p.Identity}, nil
	case len(all) == 1:
		return []id.Identity{all[0].ID}, nil
	case len(all) > maxUnknown:
		return nil, &opener.Error{
			Kind:    opener.NotAMember,
			Message: fmt.Sprintf("the vault has %d identities, and this device doesn't know which is its own", len(all)),
			Next:    "Put back this device's state folder, or join the vault anew: `vigilctl identity request --help` says how.",
		}
	}
	key, err := j.masterKey(ctx, p)
	if err != nil {
		return nil, err
	}
	share, err := j.slab.Alloc(master.ShareSize)
	if err != nil {
		return nil, err
	}
	defer share.Free()
	var found []id.Identity
	var refused error
	for i := range all {
		block, ok := members.Unlock(all[i].ID)
		if !ok {
			continue
		}
		err := key.Decrypt(ctx, share.Bytes(), block.Share, shareContext(p.Vault, all[i].ID))
		guard.Wipe(share.Bytes())
		switch {
		case err == nil:
			found = append(found, all[i].ID)
		case unreachable(err) || ctx.Err() != nil:
			return nil, err
		case refused == nil:
			refused = err
		}
	}
	if len(found) == 0 {
		return nil, &opener.Error{
			Kind:    opener.NotAMember,
			Message: fmt.Sprintf("this device's master key opens the share of none of the vault's %d identities: %v", len(all), refused),
			Next:    "Put back this device's master key and state folder, or join the vault anew: `vigilctl identity request --help` says how.",
		}
	}
	if len(found) > 1 && j.given == nil {
		j.keepPassphrases()
	}
	return found, nil
}

// openFirst opens the halves of the first identity of mine whose passphrase it is.
func (j *job) openFirst(ctx context.Context, o *opened, p opener.Place, f factors, members *keyring.Members, mine []id.Identity) (err error) {
	for _, who := range mine {
		var me keyring.Identity
		var block keyring.UnlockBlock
		if me, block, err = findIdentity(members, who); err != nil {
			return err
		}
		o.identity = me.ID
		if err = j.openHalves(ctx, o, p, f, me, block); !errors.Is(err, &opener.Error{Kind: opener.WrongPassphrase}) {
			return err
		}
	}
	return err
}
