package daemon

import (
	"cmp"
	"context"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/pubkey"
	"vigil/internal/state"
)

// minIDPrefix is how many characters of an item's id name it.
const minIDPrefix = 4

// List lists what the agent lists, or one vault's keys.
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
		for _, k := range v.list() {
			if shadow[k.Fingerprint] && k.State == control.KeyUsable {
				k.State = control.KeyShadowed
			}
			r.Keys = append(r.Keys, k)
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
		k := publicFacts(info.Blob)
		k.Comment, k.Confirm, k.Fingerprint = info.Comment, info.Confirm, info.Fingerprint
		if info.Left > 0 {
			end := time.Now().Add(info.Left).Round(time.Second)
			k.Expires = &end
		}
		keys = append(keys, k)
	}
	return keys
}

func publicFacts(blob []byte) control.Key {
	return control.Key{
		Type: pubkey.Type(blob), Bits: pubkey.Bits(blob), Fingerprint: pubkey.SHA256(blob), PublicKey: pubkey.AuthorizedKey(blob, ""),
	}
}

// list describes the vault's keys.
func (v *vault) list() (keys []control.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		for i := range v.listed {
			keys = append(keys, v.describeLocked(&v.listed[i]))
		}
		return keys
	}
	for _, f := range v.open.keys {
		keys = append(keys, v.describe(f))
	}
	return keys
}

func (v *vault) describeLocked(p *state.PublicKey) control.Key {
	k := publicFacts(p.Public)
	k.ID, k.Revision, k.Vault, k.Name, k.Comment = p.Item.String(), p.Revision.String(), v.name, p.Name, p.Comment
	k.State = control.KeyLocked
	return k
}

func (v *vault) describe(f *fact) control.Key {
	k := control.Key{}
	if len(f.meta.Public) > 0 {
		k = publicFacts(f.meta.Public)
		created := time.Unix(int64(f.meta.Created), 0).UTC()
		k.Created = &created
	}
	k.ID, k.Revision, k.Vault = f.item.String(), f.revision.String(), v.name
	k.Name, k.Comment, k.Hosts, k.Tags = f.meta.Name, f.meta.Comment, f.meta.Hosts, f.meta.Tags
	k.Confirm = f.meta.Policy.Confirm
	if len(f.meta.Certificate) > 0 {
		k.Certificate = pubkey.AuthorizedKey(f.meta.Certificate, "")
	}
	for _, to := range f.to {
		k.Destinations = append(k.Destinations, destination(to))
	}
	if f.pending {
		k.State = control.KeyPending
	}
	switch {
	case f.problem != "":
		k.State, k.Problem = control.KeyDamaged, f.problem
	case f.refusal() != "":
		k.State, k.Problem = control.KeyHeld, f.refusal()
	case f.state == keeper.ItemOutdated:
		k.State = control.KeyOutdated
	}
	return k
}

// missing names the keys of which a newer revision isn't in the vault file, each
// once.
func (o *openVault) missing() (names []string) {
	if len(o.loaded.Missing) == 0 {
		return nil
	}
	known := make(map[id.Item]string, len(o.keys))
	for _, f := range o.keys {
		known[f.item] = cmp.Or(f.meta.Name, known[f.item])
	}
	told := make(map[id.Item]bool)
	for _, m := range o.loaded.Missing {
		if !told[m.Item] {
			told[m.Item] = true
			names = append(names, cmp.Or(known[m.Item], "item "+m.Item.String()))
		}
	}
	return names
}

// Show describes one key. A locked vault's are those this device remembers.
func (h *handler) Show(_ context.Context, _ *control.Call, req *control.ShowRequest) (*control.ShowReply, error) {
	vaults, err := h.d.named(req.Vault)
	if err != nil {
		return nil, err
	}
	var found []control.Key
	for _, v := range vaults {
		for _, k := range v.list() {
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
func (d *Daemon) named(name string) ([]*vault, error) {
	if name == "" {
		return d.all(), nil
	}
	v, err := d.find(name)
	return []*vault{v}, err
}

// matches tells whether key names k: by name, by a prefix of its id, or by fingerprint.
func matches(k *control.Key, key string) bool {
	return k.Name == key || k.Fingerprint == key || len(key) >= minIDPrefix && strings.HasPrefix(k.ID, key)
}

// pick takes the only match. The heads of one item count as one.
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

// resolve finds the one key of an unlocked vault that key names.
func (d *Daemon) resolve(vaultName, key string) (*vault, *fact, error) {
	vaults, err := d.named(vaultName)
	if err != nil {
		return nil, nil, err
	}
	var found []control.Key
	var owner *vault
	var locked error
	for _, v := range vaults {
		if _, err := v.current(); err != nil {
			locked = cmp.Or(locked, err)
		}
		for _, k := range v.list() {
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
	o, err := owner.current()
	if err != nil {
		return nil, nil, err
	}
	owner.mu.Lock()
	defer owner.mu.Unlock()
	for _, f := range o.keys {
		if f.revision.String() == k.Revision {
			return owner, f, nil
		}
	}
	return nil, nil, control.NoSuchKey(key, vaultName)
}
