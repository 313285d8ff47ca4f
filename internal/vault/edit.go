package vault

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"vigil/internal/agentproto"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/policy"
	"vigil/internal/pubkey"
)

// Remove deletes a key's item with all its revisions. It asks for the passphrase again.
func (v *Vault) Remove(ctx context.Context, ask opener.Asker, key *Key, req *control.RemoveRequest) (*control.RemoveReply, error) {
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.RemoveReply, error) {
		consent, err := v.consent(ctx, o, ask, control.Refusal{What: "rm", Key: key.meta.Name}, req.Passphrase, keeper.Removal(key.item))
		if err != nil {
			return nil, err
		}
		pending, err := v.write(ctx, o, change{ask: ask, remove: keyring.Update{Remove: []id.Item{key.item}, Consents: [][]byte{consent}}})
		if err != nil {
			return nil, err
		}
		return &control.RemoveReply{Saved: control.Saved{Pending: pending}, Key: key.describe(v.name, v.config().Approve)}, nil
	})
}

// Edit makes a revision of a key's item with changed metadata.
func (v *Vault) Edit(ctx context.Context, ask opener.Asker, key *Key, req *control.EditRequest) (*control.EditReply, error) {
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.EditReply, error) {
		return v.edit(ctx, o, key, req, ask)
	})
}

func (v *Vault) edit(ctx context.Context, o *openVault, k *Key, req *control.EditRequest, ask opener.Asker) (*control.EditReply, error) {
	k, err := v.keep(o.now(), k, req)
	if err != nil {
		return nil, err
	}
	meta, err := v.edited(o, k, req)
	if err != nil {
		return nil, err
	}
	// This replaces only the revisions seen here: an edit made elsewhere meanwhile
	// remains as a second head.
	q := keeper.Edit(k.revision, k.item, o.now().replaces(k.item, k.revision), meta)
	seal := func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		if !slices.Contains(o.now().heads(k.item), k.revision) {
			return nil, changedMeanwhile(k.meta.Name)
		}
		s, err := o.keeper.SealEdited(ctx, q)
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}
	pending, err := v.withConsent(ctx, o, ask, control.Refusal{What: "edit", Key: k.meta.Name}, req.Consent, q.Change(), func(consent []byte) (bool, error) {
		q.Consent = consent
		return v.write(ctx, o, change{ask: ask, seal: seal})
	})
	if err != nil {
		return nil, err
	}
	shown, err := v.saved(o, k.item)
	reply := &control.EditReply{Saved: control.Saved{Pending: pending}, Key: shown}
	if req.Certificate != nil {
		reply.Notices = certificateNotice(&shown)
	}
	if req.Confirm != nil && *req.Confirm {
		if err := v.d.CanAsk(); err != nil {
			reply.Notices = append(reply.Notices, fmt.Sprintf("There is %v. Signatures with %s are refused until vigild is restarted where it can ask.", err, shown.Name))
		}
	}
	return reply, err
}

// keep returns the head that an edit starts from. With several heads and no choice by
// the user, it returns an error.
func (v *Vault) keep(n *snapshot, k *Key, req *control.EditRequest) (*Key, error) {
	heads := n.heads(k.item)
	switch {
	case len(heads) == 0:
		return nil, control.NoSuchKey(k.meta.Name, v.name) // removed while this job waited for its turn
	case len(heads) == 1 && req.Keep == "":
		return n.byRevision[heads[0]], nil
	}
	var names []string
	for _, h := range heads {
		names = append(names, h.String())
		if len(req.Keep) >= MinIDPrefix && strings.HasPrefix(h.String(), req.Keep) {
			return n.byRevision[h], nil
		}
	}
	return nil, control.Errorf(control.CodeAmbiguous, "`vigilctl show` shows them. Choose one with --keep REVISION.",
		"key %q was edited on two devices and has %d revisions: %s", k.meta.Name, len(heads), strings.Join(names, ", "))
}

// replaces returns the parents of an edited or restored revision: the item's heads
// and, if one is held or replaced, its missing revisions. Otherwise the key would
// stay held if their lines never arrive. At most [keyring.MaxParents] are returned,
// kept first; the next edit replaces the rest.
func (n *snapshot) replaces(item id.Item, kept id.Revision) []id.Revision {
	list := n.heads(item)
	if slices.ContainsFunc(list, func(r id.Revision) bool {
		k := n.byRevision[r]
		return k.state == keeper.ItemHeld || k.state == keeper.ItemReplaced
	}) {
		for _, m := range n.missing {
			if m.Item == item {
				list = append(list, m.Revision)
			}
		}
	}
	if at := slices.Index(list, kept); at > 0 {
		list[0], list[at] = list[at], list[0]
	}
	return list[:min(len(list), keyring.MaxParents)]
}

// edited applies a request to a key's metadata and encodes the result.
func (v *Vault) edited(o *openVault, k *Key, req *control.EditRequest) ([]byte, error) {
	m := k.meta
	if req.Name != nil {
		if *req.Name == "" {
			return nil, control.Errorf(control.CodeUsage, "Give another name, or leave --name out.", "key %q can't be without a name", m.Name)
		}
		if err := v.nameIsFree(o, *req.Name, k.item); err != nil {
			return nil, err
		}
		m.Name = *req.Name
	}
	if req.Comment != nil {
		m.Comment = *req.Comment
	}
	if req.Hosts != nil {
		m.Hosts = *req.Hosts
	}
	if req.Tags != nil {
		m.Tags = *req.Tags
	}
	if req.Confirm != nil {
		m.Policy.Confirm = *req.Confirm
	}
	if req.Approve != nil {
		approve, ok := policy.ParseApprove(*req.Approve)
		if !ok && *req.Approve != "" {
			return nil, control.Errorf(control.CodeUsage, "It is never, forwarded, first or always; empty for the vault's.", "approve of key %q can't be what was given", m.Name)
		}
		m.Policy.Approve = approve
	}
	if req.AllowSHA1 != nil {
		if m.Policy.AllowSHA1 = *req.AllowSHA1; m.Policy.AllowSHA1 && pubkey.Type(m.Public) != "ssh-rsa" {
			return nil, control.Errorf(control.CodeUsage, "", "only RSA keys sign with SHA-1, and key %q is of type %s", m.Name, pubkey.Type(m.Public))
		}
	}
	if req.Destinations != nil {
		m.Policy.Destinations = nil
		if len(*req.Destinations) > 0 {
			m.Policy.Destinations = agentproto.AppendDestinations(nil, constraints(*req.Destinations))
			if _, err := agentproto.ParseDestinations(m.Policy.Destinations); err != nil {
				return nil, control.Errorf(control.CodeUsage, "See `vigilctl edit --help`.", "destinations: %v", err)
			}
		}
	}
	if req.DropCertificate {
		m.Certificate = nil
	}
	if req.Certificate != nil {
		cert, err := readCertificate(req.Certificate)
		if err != nil {
			return nil, err
		}
		if err := certifies(cert, m.Public); err != nil {
			return nil, err
		}
		m.Certificate = cert
	}
	return encode(&m)
}

// maxCertificate is the largest size of a certificate file, in bytes.
const maxCertificate = 64 << 10

// readCertificate reads an OpenSSH certificate file, which is public.
func readCertificate(f *os.File) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	_, _ = f.Seek(0, io.SeekStart) // vigilctl gives it again with the passphrase; a pipe stays where it is
	text, err := io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if _, ok := key.(*ssh.Certificate); err != nil || !ok || len(text) > maxCertificate {
		return nil, control.Errorf(control.CodeFailed, "Give the file that ssh-keygen -s made: …-cert.pub.", "the certificate file isn't an OpenSSH certificate")
	}
	return key.Marshal(), nil
}

// certifies checks that a certificate is for the given public key.
func certifies(cert, public []byte) error {
	key, err := ssh.ParsePublicKey(cert)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if c, ok := key.(*ssh.Certificate); !ok || !bytes.Equal(c.Key.Marshal(), public) {
		return control.Errorf(control.CodeFailed, "Give the certificate of this key.", "the certificate is for another key")
	}
	return nil
}

// destination formats a constraint in the syntax of ssh-add -h.
func Destination(to agentproto.Destination) string {
	s := to.To.Host
	if to.To.User != "" {
		s = to.To.User + "@" + s
	}
	if to.From.Host != "" {
		s = to.From.Host + ">" + s
	}
	return cmp.Or(s, "(a host without a name)")
}

// constraints converts vigilctl's destinations, which it resolved with known_hosts,
// to the agent's.
func constraints(list []control.Destination) (out []agentproto.Destination) {
	for i := range list {
		out = append(out, agentproto.Destination{From: hop(&list[i].From), To: hop(&list[i].To)})
	}
	return out
}

func hop(h *control.Hop) agentproto.Hop {
	out := agentproto.Hop{User: h.User, Host: h.Host}
	for _, k := range h.Keys {
		out.Keys = append(out.Keys, agentproto.KeySpec{Blob: k.Blob, CA: k.CA})
	}
	return out
}
