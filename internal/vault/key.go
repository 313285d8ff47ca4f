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
	"vigil/internal/policy"
	"vigil/internal/pubkey"
	"vigil/internal/sshagent"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// Key is what the front knows of a revision. A Key in a snapshot is immutable.
type Key struct {
	item     id.Item
	revision id.Revision
	number   uint64 // in the keeper; 0: none
	meta     vaultfile.Meta
	label    string // listed by the agent
	to       []agentproto.Destination
	ends     time.Time // of the certificate; zero: none, or never
	reported string    // why it can't be used, from the keeper
	problem  string    // reported, or a problem that the front found
	state    keeper.ItemState
	heads    int  // number of heads of its item
	laxer    bool // less restricted than another head of its item, or one of too many to compare
	unlisted bool // laxer, and another head of its item is listed
	pending  bool // the backend doesn't have it yet
}

// newKey decodes an item's metadata. Metadata that is invalid or not understood makes
// the key unusable, never less restricted.
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
	k.take(meta)
	return k
}

// rememberedKey returns the key that p is of, for the time while its vault is locked.
func rememberedKey(p *state.PublicKey) *Key {
	k := &Key{item: p.Item, revision: p.Revision}
	k.take(vaultfile.Meta{
		Name: p.Name, Comment: p.Comment, Public: p.Public, Certificate: p.Certificate,
		Policy: vaultfile.Policy{Confirm: p.Confirm, Approve: rememberedApprove(p.Approve), Destinations: p.Destinations, AllowSHA1: p.AllowSHA1},
	})
	return k
}

// rememberedApprove reads a setting that this device keeps. One that isn't understood
// counts as the strictest.
func rememberedApprove(text string) policy.Approve {
	if a, ok := policy.ParseApprove(text); ok || text == "" {
		return a
	}
	return policy.ApproveAlways
}

// take sets the metadata. A policy that isn't understood makes the key unusable.
func (k *Key) take(meta vaultfile.Meta) {
	k.meta, k.label = meta, label(meta.Comment, meta.Name)
	if len(meta.Certificate) > 0 {
		if cert, err := policy.ParseKey(meta.Certificate); err == nil && cert.Cert != nil {
			k.ends = cert.Cert.Ends()
		}
	}
	if len(meta.Policy.Other) > 0 {
		k.problem = "the key's policy has a condition that this version of Vigil doesn't know"
	}
	if len(meta.Policy.Destinations) > 0 {
		var err error
		if k.to, err = agentproto.ParseDestinations(meta.Policy.Destinations); err != nil {
			k.problem = "the key's destination constraints can't be read: " + err.Error()
		}
	}
}

// listed returns the key as the agent lists it while its vault is locked. approve is the
// vault's setting.
func (k *Key) listed(approve policy.Approve) sshagent.VaultKey {
	l := sshagent.VaultKey{
		Blob: k.meta.Public, Comment: k.label, To: k.to, Confirm: k.meta.Policy.Confirm,
		Approve: k.meta.Policy.Approve.Or(approve), AllowSHA1: k.meta.Policy.AllowSHA1,
	}
	if len(k.meta.Certificate) > 0 {
		l.Certificate = k.meta.Certificate
	}
	return l
}

// label returns what ssh-add -l shows: the comment, or else the name, as one printable
// line. Any member of the vault can set the comment, and ssh-add -L prints it verbatim,
// sometimes into authorized_keys. Comments of keys added by ssh-add aren't cleaned.
func label(comment, name string) string { return pubkey.CleanComment(cmp.Or(comment, name)) }

// refusal returns why the key can't sign, or "".
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

// public returns what this device keeps of the key for listing while the vault is locked.
func (k *Key) public() state.PublicKey {
	return state.PublicKey{
		Item: k.item, Revision: k.revision, Name: k.meta.Name, Comment: k.meta.Comment,
		Public: k.meta.Public, Certificate: k.meta.Certificate,
		Destinations: k.meta.Policy.Destinations, Confirm: k.meta.Policy.Confirm,
		Approve: string(k.meta.Policy.Approve), AllowSHA1: k.meta.Policy.AllowSHA1,
	}
}

// describe returns the key as vigilctl shows it. approve is the vault's setting.
func (k *Key) describe(vault string, approve policy.Approve) control.Key {
	shown := control.Key{}
	if len(k.meta.Public) > 0 {
		shown = control.PublicKey(k.meta.Public)
	}
	if k.meta.Created != 0 { // this device doesn't remember it
		created := time.Unix(int64(k.meta.Created), 0).UTC()
		shown.Created = &created
	}
	shown.ID, shown.Revision, shown.Vault = k.item.String(), k.revision.String(), vault
	shown.Name, shown.Comment, shown.Hosts, shown.Tags = k.meta.Name, k.meta.Comment, k.meta.Hosts, k.meta.Tags
	shown.Confirm, shown.AllowSHA1 = k.meta.Policy.Confirm, k.meta.Policy.AllowSHA1
	if approve = k.meta.Policy.Approve.Or(approve); approve != policy.ApproveForwarded {
		shown.Approve = string(approve)
	}
	if len(k.meta.Certificate) > 0 {
		shown.Certificate = pubkey.AuthorizedKey(k.meta.Certificate, "")
	}
	if !k.ends.IsZero() {
		ends := k.ends.UTC()
		shown.ValidUntil = &ends
	}
	for _, to := range k.to {
		shown.Destinations = append(shown.Destinations, Destination(to))
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
