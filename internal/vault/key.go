package vault

import (
	"cmp"
	"strconv"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/pubkey"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// Key is what the front knows of a revision. Nobody changes one that is in a
// snapshot.
type Key struct {
	item     id.Item
	revision id.Revision
	number   uint64 // in the keeper; 0: it has none
	meta     vaultfile.Meta
	label    string // what an agent lists
	to       []agentproto.Destination
	reported string // why it can't be used, as the keeper says
	problem  string // the same, or what the front finds wrong
	state    keeper.ItemState
	heads    int  // how many its item has
	laxer    bool // than another head of its item, or one of too many to compare
	unlisted bool // laxer, and a head of its item isn't
	pending  bool // the backend doesn't have it yet
}

// newKey reads an item's metadata. What can't be read or isn't understood
// makes the key unusable, never less restricted.
func newKey(it *keeper.Item) *Key {
	k := &Key{item: it.Item, revision: it.Revision, number: it.Key, state: it.State, reported: it.Problem, problem: it.Problem}
	if it.Problem != "" {
		return k
	}
	meta, err := vaultfile.ParseMeta(it.Meta)
	if err != nil {
		k.problem = "the item is damaged: " + err.Error()
		return k
	}
	k.meta, k.label = meta, label(meta.Comment, meta.Name)
	if len(meta.Policy.Other) > 0 {
		k.problem = "the key's policy has a condition that this version of Vigil doesn't know"
	}
	if len(meta.Policy.Destinations) > 0 {
		if k.to, err = agentproto.ParseDestinations(meta.Policy.Destinations); err != nil {
			k.problem = "the key's destination constraints can't be read: " + err.Error()
		}
	}
	return k
}

// label is what ssh-add -l shows: the comment, or the name where there is none, as
// one printable line. Any member of the vault can have written it, and ssh-add -L
// prints what an agent lists as it is, into authorized_keys for some. A comment that
// came with ssh-add is listed as it came.
func label(comment, name string) string { return pubkey.CleanComment(cmp.Or(comment, name)) }

// refusal is why the key doesn't sign, or "".
func (k *Key) refusal() string {
	switch {
	case k.problem != "":
		return k.problem
	case k.state == keeper.ItemHeld:
		return "a newer revision of the key restricts its use further, and is missing from this device's vault file"
	case k.state == keeper.ItemReplaced:
		return "a newer revision of the key was here, and is missing from the vault file now"
	case k.heads > keyring.MaxParents:
		return "the key has " + strconv.Itoa(k.heads) + " revisions at once: choose one with vigilctl edit --keep, and again while there are more"
	case k.laxer:
		return "the key was edited on two devices, and the other revision restricts its use further: choose one with vigilctl edit --keep"
	}
	return ""
}

// public is what this device remembers of the key while the vault is locked.
func (k *Key) public() state.PublicKey {
	return state.PublicKey{
		Item: k.item, Revision: k.revision, Name: k.meta.Name, Comment: k.meta.Comment,
		Public: k.meta.Public, Certificate: k.meta.Certificate,
		Destinations: k.meta.Policy.Destinations, Confirm: k.meta.Policy.Confirm,
	}
}

// describe is the key as vigilctl shows it.
func (k *Key) describe(vault string) control.Key {
	shown := control.Key{}
	if len(k.meta.Public) > 0 {
		shown = control.PublicKey(k.meta.Public)
		created := time.Unix(int64(k.meta.Created), 0).UTC()
		shown.Created = &created
	}
	shown.ID, shown.Revision, shown.Vault = k.item.String(), k.revision.String(), vault
	shown.Name, shown.Comment, shown.Hosts, shown.Tags = k.meta.Name, k.meta.Comment, k.meta.Hosts, k.meta.Tags
	shown.Confirm = k.meta.Policy.Confirm
	if len(k.meta.Certificate) > 0 {
		shown.Certificate = pubkey.AuthorizedKey(k.meta.Certificate, "")
	}
	for _, to := range k.to {
		shown.Destinations = append(shown.Destinations, destination(to))
	}
	switch {
	case k.problem != "":
		shown.State, shown.Problem = control.KeyDamaged, k.problem
	case k.refusal() != "":
		shown.State, shown.Problem = control.KeyHeld, k.refusal()
	case k.state == keeper.ItemOutdated:
		shown.State = control.KeyOutdated
	case k.pending:
		shown.State = control.KeyPending
	}
	return shown
}

// describeLocked is a key of a locked vault as vigilctl shows it.
func describeLocked(p *state.PublicKey, vault string) control.Key {
	shown := control.PublicKey(p.Public)
	shown.ID, shown.Revision, shown.Vault, shown.Name, shown.Comment = p.Item.String(), p.Revision.String(), vault, p.Name, p.Comment
	shown.State = control.KeyLocked
	return shown
}
