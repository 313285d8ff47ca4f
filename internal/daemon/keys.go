package daemon

import (
	"cmp"
	"context"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/policy"
	"vigil/internal/vault"
)

// List returns the keys that the agent lists, or one vault's keys.
func (h *handler) List(_ context.Context, _ *control.Call, req *control.ListRequest) (*control.ListReply, error) {
	r := &control.ListReply{Keys: []control.Key{}}
	vaults, err := h.d.named(req.Vault)
	if err != nil {
		return nil, err
	}
	if req.Vault == "" {
		r.Keys = append(r.Keys, h.d.addedKeys()...)
	}
	shadow := map[string]bool{}
	for _, k := range r.Keys {
		shadow[k.Fingerprint] = true
	}
	for _, v := range vaults {
		keys := v.Keys()
		for i := range keys {
			if k := &keys[i]; shadow[k.Fingerprint] && k.State == control.KeyUsable {
				k.State = control.KeyShadowed
			}
		}
		r.Keys = append(r.Keys, keys...)
	}
	r.Keys = policy.CommonFirst(r.Keys, func(k *control.Key) string { return k.Type })
	for i := range r.Keys {
		if req.Short {
			r.Keys[i].Shorten()
		}
	}
	return r, nil
}

// addedKeys describes the keys that ssh-add added.
func (d *Daemon) addedKeys() (keys []control.Key) {
	for _, info := range d.agent.Keys() {
		if info.Vault != "" {
			continue
		}
		k := control.PublicKey(info.Blob)
		k.Comment, k.Confirm, k.AllowSHA1, k.Fingerprint = info.Comment, info.Confirm, info.AllowSHA1, info.Fingerprint
		if info.Left > 0 {
			end := time.Now().Add(info.Left).Round(time.Second)
			k.Expires = &end
		}
		for _, to := range info.To {
			k.Destinations = append(k.Destinations, vault.Destination(to))
		}
		keys = append(keys, k)
	}
	return keys
}

// Show describes one key. A locked vault's keys are those that this device remembers.
func (h *handler) Show(_ context.Context, _ *control.Call, req *control.ShowRequest) (*control.ShowReply, error) {
	vaults, err := h.d.named(req.Vault)
	if err != nil {
		return nil, err
	}
	var found []control.Key
	for _, v := range vaults {
		for _, k := range v.Keys() {
			if matches(&k, req.Key) {
				found = append(found, k)
			}
		}
	}
	switch key, err := pick(found, req.Key, req.Vault); {
	case err != nil:
		return nil, err
	default:
		reply := &control.ShowReply{Key: key}
		if key.Heads > 1 {
			reply.Heads = found
		}
		return reply, nil
	}
}

// named returns the vault called name, or all for "".
func (d *Daemon) named(name string) ([]*vault.Vault, error) {
	if name == "" {
		return d.all(), nil
	}
	v, err := d.find(name)
	return []*vault.Vault{v}, err
}

// matches reports whether key is k's name, a prefix of its id, or its fingerprint.
func matches(k *control.Key, key string) bool {
	return k.Name == key || k.Fingerprint == key || len(key) >= vault.MinIDPrefix && strings.HasPrefix(k.ID, key)
}

// pick returns the only match. The heads of one item count as one.
func pick(found []control.Key, key, vault string) (control.Key, error) {
	if len(found) == 0 {
		return control.Key{}, control.NoSuchKey(key, vault)
	}
	for _, k := range found[1:] {
		if k.ID != found[0].ID {
			return control.Key{}, control.Ambiguous(key, found)
		}
	}
	k := found[0]
	if len(found) > 1 {
		k.Heads = len(found)
	}
	return k, nil
}

// resolve returns the one key of an unlocked vault that key names.
func (d *Daemon) resolve(vaultName, key string) (*vault.Vault, *vault.Key, error) {
	vaults, err := d.named(vaultName)
	if err != nil {
		return nil, nil, err
	}
	var found []control.Key
	var owner *vault.Vault
	var locked error
	for _, v := range vaults {
		locked = cmp.Or(locked, v.Locked())
		for _, k := range v.Keys() {
			if matches(&k, key) {
				found, owner = append(found, k), v
			}
		}
	}
	if len(found) == 0 && locked != nil {
		return nil, nil, locked
	}
	k, err := pick(found, key, vaultName)
	if err != nil {
		return nil, nil, err
	}
	of, err := owner.Key(&k)
	return owner, of, err
}
