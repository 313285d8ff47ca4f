package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/agentproto"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/vaultfile"
)

// maxCertificate is the size in bytes of the largest certificate file.
const maxCertificate = 64 << 10

// Add imports a private key file.
func (h *handler) Add(ctx context.Context, call *control.Call, req *control.AddRequest) (*control.AddReply, error) {
	meta := vaultfile.Meta{Name: req.Name, Comment: req.Comment, Hosts: req.Hosts, Tags: req.Tags}
	cert, err := readCertificate(req.Certificate)
	if err != nil {
		return nil, err
	}
	meta.Certificate = cert
	files := []*os.File{req.KeyFile}
	job := opener.Import{Key: 1}
	if req.KeyPassphrase != nil {
		files = append(files, req.KeyPassphrase)
		job.Passphrase = 2
	}
	job.Keeper = opener.File(len(files) + 1)
	return withUnlocked(ctx, h.d, req.Vault, func(ctx context.Context, v *vault, o *openVault) (*control.AddReply, error) {
		job.Vault = o.id
		key, saved, err := v.newKey(ctx, o, asker(call), meta, files, opener.Request{Import: &job})
		if err != nil {
			return nil, err
		}
		return &control.AddReply{Saved: saved, Key: key}, nil
	})
}

// Generate makes a new key.
func (h *handler) Generate(ctx context.Context, call *control.Call, req *control.GenerateRequest) (*control.GenerateReply, error) {
	meta := vaultfile.Meta{Name: req.Name, Comment: req.Comment, Hosts: req.Hosts, Tags: req.Tags}
	job := opener.Generate{Type: req.Type, Bits: req.Bits, Comment: req.Comment, Keeper: 1}
	return withUnlocked(ctx, h.d, req.Vault, func(ctx context.Context, v *vault, o *openVault) (*control.GenerateReply, error) {
		job.Vault = o.id
		key, saved, err := v.newKey(ctx, o, asker(call), meta, nil, opener.Request{Generate: &job})
		if err != nil {
			return nil, err
		}
		return &control.GenerateReply{Saved: saved, Key: key}, nil
	})
}

// newKey has an opener hand a key to the keeper, and saves it as a new item.
func (v *vault) newKey(ctx context.Context, o *openVault, ask opener.Asker, meta vaultfile.Meta, files []*os.File, req opener.Request) (key control.Key, saved control.Saved, err error) {
	if err := v.nameIsFree(o, meta.Name, id.Item{}); err != nil {
		return key, saved, err
	}
	session := v.startSession(ctx, o)
	defer session.end()
	draft, parsed, err := v.draft(ctx, o, files, req)
	// Sealing takes it; otherwise it would lie in the keeper until the vault is locked.
	defer func() { _ = o.keeper.DropDraft(context.WithoutCancel(ctx), draft.Number) }()
	if err != nil {
		return key, saved, err
	}
	if err := v.complete(o, &meta, draft, parsed); err != nil {
		return key, saved, err
	}
	encoded, err := meta.Encode()
	if err != nil {
		return key, saved, err
	}
	item := id.NewItem()
	saved.Pending, err = v.write(ctx, o, change{ask: ask, session: session, seal: func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		s, err := o.keeper.SealDraft(ctx, draft.Number, item, encoded)
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}})
	if err != nil {
		return key, saved, err
	}
	key, err = v.item(o, item)
	return key, saved, err
}

// draft runs the opener's job and returns what the keeper and the opener say of the key.
func (v *vault) draft(ctx context.Context, o *openVault, files []*os.File, req opener.Request) (keeper.Draft, *opener.Key, error) {
	var draft keeper.Draft
	attach := func(ctx context.Context, end *os.File) (err error) {
		draft, err = o.keeper.AttachKey(ctx, end)
		return err
	}
	var reply opener.Reply
	if err := v.between(ctx, attach, files, req, &reply, nil); err != nil {
		return draft, nil, err
	}
	parsed := reply.Import
	if parsed == nil {
		parsed = reply.Generate
	}
	if parsed == nil || !bytes.Equal(parsed.Public, draft.Public) {
		return draft, nil, errors.New("the opener and the keeper speak of different keys")
	}
	return draft, parsed, nil
}

// complete fills in what the key file says and the user didn't.
func (v *vault) complete(o *openVault, meta *vaultfile.Meta, draft keeper.Draft, parsed *opener.Key) error {
	meta.Public, meta.Created = draft.Public, uint64(time.Now().Unix())
	if meta.Comment == "" {
		meta.Comment = parsed.Comment
	}
	if meta.Name == "" {
		meta.Name = v.freeName(o, nameFrom(meta.Comment, draft.Type))
	}
	if len(meta.Certificate) > 0 {
		if err := certifies(meta.Certificate, draft.Public); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range o.keys {
		if bytes.Equal(f.meta.Public, meta.Public) {
			return control.Errorf(control.CodeExists, "`vigilctl show "+f.meta.Name+"` shows it.", "the key is in vault %q already, as %q", v.name, f.meta.Name)
		}
	}
	return nil
}

// nameFrom makes a name of a comment such as "alice@laptop", or of a type.
func nameFrom(comment, keyType string) string {
	if fields := strings.Fields(comment); len(fields) > 0 {
		return fields[0]
	}
	return strings.TrimPrefix(keyType, "ssh-")
}

// freeName appends a number to a name that is taken.
func (v *vault) freeName(o *openVault, name string) string {
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s-%d", name, n)
		}
		if v.nameIsFree(o, try, id.Item{}) == nil {
			return try
		}
	}
}

// nameIsFree refuses a name that another item has.
func (v *vault) nameIsFree(o *openVault, name string, of id.Item) error {
	if name == "" {
		return nil
	}
	if name != pubkey.CleanComment(name) || strings.ContainsAny(name, " \t") {
		return control.Errorf(control.CodeUsage, "Choose a name without spaces and control characters.", "%q can't be a key's name", pubkey.CleanComment(name))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range o.keys {
		if f.meta.Name == name && f.item != of {
			return control.Errorf(control.CodeExists, "Choose another name with --name.", "vault %q has a key called %q", v.name, name)
		}
	}
	return nil
}

// item describes an item that was just saved.
func (v *vault) item(o *openVault, item id.Item) (control.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range o.keys {
		if f.item == item {
			return v.describe(f), nil
		}
	}
	return control.Key{}, fmt.Errorf("vault %q: the saved key %v isn't listed", v.name, item)
}

// Remove deletes an item for good.
func (h *handler) Remove(ctx context.Context, call *control.Call, req *control.RemoveRequest) (*control.RemoveReply, error) {
	return withKey(ctx, h.d, req.Vault, req.Key, func(ctx context.Context, v *vault, o *openVault, f *fact) (*control.RemoveReply, error) {
		key := v.describe(f)
		pending, err := v.write(ctx, o, change{ask: asker(call), remove: []id.Item{f.item}})
		if err != nil {
			return nil, err
		}
		return &control.RemoveReply{Saved: control.Saved{Pending: pending}, Key: key}, nil
	})
}

// Edit makes a revision of an item with other metadata.
func (h *handler) Edit(ctx context.Context, call *control.Call, req *control.EditRequest) (*control.EditReply, error) {
	return withKey(ctx, h.d, req.Vault, req.Key, func(ctx context.Context, v *vault, o *openVault, f *fact) (*control.EditReply, error) {
		return v.edit(ctx, o, f, req, asker(call))
	})
}

func (v *vault) edit(ctx context.Context, o *openVault, f *fact, req *control.EditRequest, ask opener.Asker) (*control.EditReply, error) {
	f, err := v.keep(o, f, req)
	if err != nil {
		return nil, err
	}
	meta, err := v.edited(o, f, req)
	if err != nil {
		return nil, err
	}
	seen := v.replaces(o, f.item, f.revision)
	pending, err := v.write(ctx, o, change{ask: ask, seal: func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		if !slices.Contains(v.heads(o, f.item), f.revision) {
			return nil, control.Errorf(control.CodeExists, "Look at it, and try again.", "key %q was changed elsewhere meanwhile; nothing was changed here", f.meta.Name)
		}
		// Only what was there to see is replaced: an edit made elsewhere
		// meanwhile stays, as a second head.
		s, err := o.keeper.SealEdited(ctx, f.revision, f.item, seen, meta)
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}})
	if err != nil {
		return nil, err
	}
	key, err := v.item(o, f.item)
	return &control.EditReply{Saved: control.Saved{Pending: pending}, Key: key}, err
}

// keep resolves which of several heads an edit goes on from. Nothing is decided
// for the user: without a choice, it's refused.
func (v *vault) keep(o *openVault, f *fact, req *control.EditRequest) (*fact, error) {
	heads := v.heads(o, f.item)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case len(heads) == 0:
		return nil, control.NoSuchKey(f.meta.Name, v.name) // removed while this waited for its turn
	case len(heads) == 1 && req.Keep == "":
		return o.facts[heads[0]], nil
	}
	var names []string
	for _, h := range heads {
		names = append(names, h.String())
		if len(req.Keep) >= minIDPrefix && strings.HasPrefix(h.String(), req.Keep) {
			return o.facts[h], nil
		}
	}
	return nil, control.Errorf(control.CodeAmbiguous, "`vigilctl show` shows them. Choose one with --keep REVISION.",
		"key %q was edited on two devices and has %d revisions: %s", f.meta.Name, len(heads), strings.Join(names, ", "))
}

// heads are the revisions of an item that are there to see.
func (v *vault) heads(o *openVault, item id.Item) (heads []id.Revision) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range o.keys {
		if f.item == item {
			heads = append(heads, f.revision)
		}
	}
	return heads
}

// replaces are the revisions that an edit or a restored revision names as its
// parents: what is there to see and, of a key that is held for their sake, those
// whose lines are missing. Else it would stay held when they never come. Of more
// than a revision can name, kept is one, and the next edit replaces others.
func (v *vault) replaces(o *openVault, item id.Item, kept id.Revision) []id.Revision {
	list := v.heads(o, item)
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.ContainsFunc(list, func(r id.Revision) bool {
		f := o.facts[r]
		return f != nil && (f.state == keeper.ItemHeld || f.state == keeper.ItemReplaced)
	}) {
		for _, m := range o.loaded.Missing {
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

// edited applies a request to a key's metadata.
func (v *vault) edited(o *openVault, f *fact, req *control.EditRequest) ([]byte, error) {
	m := f.meta
	if req.Name != nil {
		if err := v.nameIsFree(o, *req.Name, f.item); err != nil {
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
	return m.Encode()
}

// readCertificate reads an OpenSSH certificate file, which is public.
func readCertificate(f *os.File) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
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

// certifies checks that a certificate is one for this key.
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
