package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/vaultfile"
)

// Add imports a private key file.
func (v *Vault) Add(ctx context.Context, ask opener.Asker, req *control.AddRequest) (*control.AddReply, error) {
	meta := vaultfile.Meta{Name: req.Name, Comment: req.Comment, Hosts: req.Hosts, Tags: req.Tags}
	var notices []string
	certificate, err := readCertificate(req.Certificate)
	switch {
	case err == nil:
		meta.Certificate = certificate
	case req.CertificateBeside:
		notices = append(notices, withoutCertificate(err))
	default:
		return nil, err
	}
	files := []*os.File{req.KeyFile}
	job := opener.Import{Key: 1}
	if req.KeyPassphrase != nil {
		files = append(files, req.KeyPassphrase)
		job.Passphrase = 2
	}
	job.Keeper = opener.File(len(files) + 1)
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.AddReply, error) {
		job.Vault = o.id
		key, saved, err := v.newKey(ctx, o, ask, meta, req.CertificateBeside, files, &job)
		if err != nil {
			return nil, err
		}
		saved.Notices = slices.Concat(notices, saved.Notices, certificateNotice(&key))
		return &control.AddReply{Saved: saved, Key: key}, nil
	})
}

// withoutCertificate returns the notice that a certificate found beside a key file was
// left out, because of err.
func withoutCertificate(err error) string {
	return "The certificate beside the key file was left out: " + err.Error() + "."
}

// Generate makes a new key.
func (v *Vault) Generate(ctx context.Context, ask opener.Asker, req *control.GenerateRequest) (*control.GenerateReply, error) {
	meta := vaultfile.Meta{Name: req.Name, Comment: req.Comment, Hosts: req.Hosts, Tags: req.Tags}
	job := opener.Generate{Type: req.Type, Bits: req.Bits, Comment: req.Comment, Keeper: 1}
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.GenerateReply, error) {
		job.Vault = o.id
		key, saved, err := v.newKey(ctx, o, ask, meta, false, nil, &job)
		if err != nil {
			return nil, err
		}
		saved.Notices = append(saved.Notices, fewAccept(key.Type)...)
		return &control.GenerateReply{Saved: saved, Key: key}, nil
	})
}

// fewAccept says which programs a new key is for if most don't know its type.
func fewAccept(keyType string) []string {
	releases, few := map[string]string{
		"ssh-mldsa44-ed25519":             "10.6 and later know",
		"ssh-mldsa44-ed25519@openssh.com": "10.4 and 10.5 know",
	}[keyType]
	if !few {
		return nil
	}
	return []string{"Only OpenSSH " + releases + " keys of this type, as client and as server. Other servers refuse the key, and" +
		" other clients can't use it; the agent lists it after all others, which they can still use. Keep another key for them."}
}

// certificateNotice says that a certificate that was just stored has expired.
func certificateNotice(k *control.Key) []string {
	if !k.CertificateExpired() {
		return nil
	}
	return []string{fmt.Sprintf("The certificate of %s expired at %s, so the agent doesn't list it. Have it renewed, then give it to `vigilctl edit %s --certificate FILE`.",
		k.Name, k.ValidUntil.Local().Format(time.DateTime), k.Name)}
}

// newKey has an opener give a key to the keeper, and saves it as a new item. An
// optional certificate that isn't the key's is left out with a notice.
func (v *Vault) newKey(ctx context.Context, o *openVault, ask opener.Asker, meta vaultfile.Meta, optional bool, files []*os.File, job opener.Job[opener.Key]) (key control.Key, saved control.Saved, err error) {
	if err := v.nameIsFree(o, meta.Name, id.Item{}); err != nil {
		return key, saved, err
	}
	early := v.startEarly(ctx, o)
	defer early.end()
	draft, parsed, err := v.draft(ctx, o, files, job)
	// Sealing consumes the draft; after an error it would stay in the keeper until a lock.
	defer func() { _ = o.keeper.DropDraft(context.WithoutCancel(ctx), draft.Number) }()
	if err != nil {
		return key, saved, err
	}
	if optional && len(meta.Certificate) > 0 {
		if err := certifies(meta.Certificate, draft.Public); err != nil {
			meta.Certificate = nil
			saved.Notices = append(saved.Notices, withoutCertificate(err))
		}
	}
	if err := v.complete(o, &meta, draft, parsed); err != nil {
		return key, saved, err
	}
	encoded, err := encode(&meta)
	if err != nil {
		return key, saved, err
	}
	item := id.NewItem()
	saved.Pending, err = v.write(ctx, o, change{ask: ask, early: early, seal: func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		s, err := o.keeper.SealDraft(ctx, draft.Number, item, encoded)
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}})
	if err != nil {
		return key, saved, err
	}
	key, err = v.saved(o, item)
	return key, saved, err
}

// draft runs the opener's job. It returns the key as the keeper and the opener describe it.
func (v *Vault) draft(ctx context.Context, o *openVault, files []*os.File, job opener.Job[opener.Key]) (keeper.Draft, *opener.Key, error) {
	var draft keeper.Draft
	attach := func(ctx context.Context, end *os.File) (err error) {
		draft, err = o.keeper.AttachKey(ctx, end)
		return err
	}
	parsed, err := between(ctx, v, o.id, attach, files, job, opener.Seen{}, nil)
	if err != nil {
		return draft, nil, err
	}
	if !bytes.Equal(parsed.Public, draft.Public) {
		return draft, nil, errors.New("the opener and the keeper have different keys")
	}
	return draft, parsed, nil
}

// complete fills in what the user didn't give from the key file.
func (v *Vault) complete(o *openVault, meta *vaultfile.Meta, draft keeper.Draft, parsed *opener.Key) error {
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
	for _, k := range o.now().keys {
		if bytes.Equal(k.meta.Public, meta.Public) {
			return control.Errorf(control.CodeExists, "`vigilctl show "+k.meta.Name+"` shows it.", "the key is in vault %q already, as %q", v.name, k.meta.Name)
		}
	}
	return nil
}

// nameFrom derives a name from a comment such as "alice@laptop", or else from the key type.
func nameFrom(comment, keyType string) string {
	if fields := strings.Fields(comment); len(fields) > 0 {
		return fields[0]
	}
	return strings.TrimPrefix(keyType, "ssh-")
}

// freeName returns name, with a number appended if it is taken.
func (v *Vault) freeName(o *openVault, name string) string {
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

// nameIsFree returns an error for an invalid name, and for the name of an item other
// than of.
func (v *Vault) nameIsFree(o *openVault, name string, of id.Item) error {
	if name == "" {
		return nil
	}
	if name != pubkey.CleanComment(name) || strings.ContainsAny(name, " \t") {
		return control.Errorf(control.CodeUsage, "Choose a name without spaces and control characters.", "%q can't be a key's name", pubkey.CleanComment(name))
	}
	for _, k := range o.now().keys {
		if k.meta.Name == name && k.item != of {
			return control.Errorf(control.CodeExists, "Choose another name with --name.", "vault %q has a key called %q", v.name, name)
		}
	}
	return nil
}

// encode encodes what a vault keeps beside a private key.
func encode(m *vaultfile.Meta) ([]byte, error) {
	b, err := m.Encode()
	if err != nil {
		return nil, control.Errorf(control.CodeUsage, "Nothing was changed. Shorten it.", "what belongs to the key is too long: %v", err)
	}
	return b, nil
}

// saved describes an item that was just saved.
func (v *Vault) saved(o *openVault, item id.Item) (control.Key, error) {
	for _, k := range o.now().keys {
		if k.item == item {
			return k.describe(v.name, v.config().Approve), nil
		}
	}
	return control.Key{}, fmt.Errorf("vault %q: the saved key %v isn't listed", v.name, item)
}
