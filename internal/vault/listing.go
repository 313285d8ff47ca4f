package vault

import (
	"context"
	"errors"
	"fmt"
	"os"

	"vigil/internal/control"
	"vigil/internal/keeper"
	"vigil/internal/sshagent"
	"vigil/internal/state"
)

// Keys returns the vault's keys. For a locked vault, it returns those that this
// device remembers.
func (v *Vault) Keys() (keys []control.Key) {
	v.mu.Lock()
	o, list := v.open, v.listed
	v.mu.Unlock()
	if o != nil {
		list = o.now().keys
	}
	keys = make([]control.Key, len(list))
	for i, k := range list {
		keys[i] = k.describe(v.name, v.config().Approve)
		if o == nil {
			keys[i].State, keys[i].Problem = control.KeyLocked, ""
		}
	}
	return keys
}

// Key returns the key of an unlocked vault that Keys returned as shown. The error is
// a control.Error of CodeLocked or CodeNotFound.
func (v *Vault) Key(shown *control.Key) (*Key, error) {
	o, err := v.current()
	if err != nil {
		return nil, err
	}
	for _, k := range o.now().keys {
		if k.revision.String() == shown.Revision {
			return k, nil
		}
	}
	return nil, control.NoSuchKey(shown.Name, v.name)
}

// show makes the agent list what is loaded, unless the vault was locked meanwhile.
func (v *Vault) show(o *openVault) {
	v.showing.Lock()
	defer v.showing.Unlock()
	if now, err := v.current(); err != nil || now != o {
		return
	}
	loaded := o.now().keys
	keys := make([]sshagent.VaultKey, 0, len(loaded))
	for _, k := range loaded {
		if len(k.meta.Public) == 0 || k.unlisted {
			continue // damaged, so there is nothing to list; or a stricter head is listed
		}
		listed := k.listed(v.config().Approve)
		if listed.ID, listed.Refusal = k.number, k.refusal(); listed.Refusal == "" {
			listed.Signer = Signer{o.keeper}
		}
		keys = append(keys, listed)
	}
	v.d.Agent.SetVault(v.name, keys)
}

// Signer adapts a keeper for the agent.
type Signer struct{ Keeper *keeper.Client }

// Sign signs with a key of the keeper and translates its errors. See [sshagent.Signer].
func (s Signer) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	sig, err := s.Keeper.Sign(ctx, key, data, flags, dst)
	if errors.Is(err, keeper.ErrNoKey) || errors.Is(err, keeper.ErrGone) {
		return nil, fmt.Errorf("%w: %w", sshagent.ErrNoKey, err)
	}
	return sig, err
}

// SignThrough is Sign for a key in a security key. See [sshagent.Signer].
func (s Signer) SignThrough(ctx context.Context, key uint64, data []byte, provider string, helper, pin *os.File, dst []byte) ([]byte, error) {
	sig, err := s.Keeper.SignThrough(ctx, key, data, provider, helper, pin, dst)
	if errors.Is(err, keeper.ErrPIN) {
		return nil, fmt.Errorf("%w: %w", sshagent.ErrPIN, err)
	}
	if errors.Is(err, keeper.ErrNoKey) || errors.Is(err, keeper.ErrGone) {
		return nil, fmt.Errorf("%w: %w", sshagent.ErrNoKey, err)
	}
	return sig, err
}

// ShowLocked makes the agent list the public keys that this device remembers.
func (v *Vault) ShowLocked() {
	keys, err := v.remembered()
	if err != nil && !errors.Is(err, state.ErrNone) {
		v.d.Log.Warn("public keys of a locked vault can't be listed", "vault", v.name, "err", err)
	}
	v.listLocked(keys)
}

// listLocked makes the agent list public keys that can't sign, unless the vault was
// unlocked meanwhile.
func (v *Vault) listLocked(keys []state.PublicKey) {
	locked := make([]*Key, len(keys))
	for i := range keys {
		locked[i] = rememberedKey(&keys[i])
	}
	v.showing.Lock()
	defer v.showing.Unlock()
	v.mu.Lock()
	unlocked := v.open != nil
	if !unlocked {
		v.listed = locked
	}
	v.mu.Unlock()
	if unlocked {
		return
	}
	list := make([]sshagent.VaultKey, 0, len(keys))
	for _, k := range locked {
		if k.problem == "" { // else ignore it: this is a cache
			list = append(list, k.listed(v.config().Approve))
		}
	}
	v.d.Agent.SetVault(v.name, list)
}

// remembered returns the public keys that this device remembers of the vault.
func (v *Vault) remembered() ([]state.PublicKey, error) {
	if !v.config().PublicCache {
		return nil, nil
	}
	names, err := v.d.State.Names()
	if err != nil {
		return nil, err
	}
	vaultID, ok := names[v.name]
	if !ok {
		return nil, nil
	}
	return v.d.State.Vault(vaultID).PublicKeys()
}

// rememberKeys writes the public keys to list while locked. Nothing waits for it:
// they are a cache.
func (v *Vault) rememberKeys(ctx context.Context, o *openVault) {
	st := v.d.State.Vault(o.id)
	var err error
	if v.config().PublicCache {
		err = st.SetPublicKeys(ctx, v.publicKeys(o))
	} else {
		err = st.DropPublicKeys(ctx)
	}
	if err != nil {
		v.d.Log.Warn("public keys to list while locked can't be kept", "vault", v.name, "err", err)
	}
}

// publicKeys returns the keys of an open vault to list while it is locked.
func (v *Vault) publicKeys(o *openVault) (keys []state.PublicKey) {
	if !v.config().PublicCache {
		return nil
	}
	for _, k := range o.now().keys {
		if len(k.meta.Public) > 0 {
			keys = append(keys, k.public())
		}
	}
	return keys
}
