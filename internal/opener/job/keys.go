package job

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/keyfile"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/vaultfile"
)

// importKey parses a private key file and hands the key to the keeper.
func (j *job) importKey(req *opener.Import) (*opener.Key, error) {
	b, n, err := j.read(req.Key, keyfile.MaxFile)
	if err != nil {
		return nil, err
	}
	defer b.Free()
	var ask func() ([]byte, error)
	if req.Passphrase != 0 {
		ask = func() ([]byte, error) { return j.keyPassphrase(req.Passphrase) }
	}
	key, err := keyfile.Parse(b.Bytes()[:n], ask)
	if err != nil {
		return nil, err
	}
	defer func() { _ = key.Close() }()
	return j.handOver(key, req.Keeper)
}

// keyPassphrase reads a key file's passphrase; keyfile wipes what it returns.
func (j *job) keyPassphrase(f opener.File) ([]byte, error) {
	b, p, err := j.passphrase(f)
	if err != nil {
		return nil, err
	}
	defer b.Free()
	return slices.Clone(p), nil
}

// generate makes a new key and hands it to the keeper.
func (j *job) generate(req *opener.Generate) (*opener.Key, error) {
	key, err := keyfile.Generate(req.Type, req.Bits, req.Comment)
	if err != nil {
		return nil, &opener.Error{Kind: opener.BadInput, Message: err.Error(), Next: "`vigilctl generate --help` lists types and sizes."}
	}
	defer func() { _ = key.Close() }()
	return j.handOver(key, req.Keeper)
}

func (j *job) handOver(key *keyfile.Key, to opener.File) (*opener.Key, error) {
	keeper, err := handed(to)
	if err != nil {
		return nil, err
	}
	defer keeper.Close()
	if err := handover.Key(keeper, j.vault, key.Encoding()); err != nil {
		return nil, &opener.Error{Kind: opener.KeeperRefused, Message: err.Error()}
	}
	return &opener.Key{Type: key.Type(), Public: key.Public(), Comment: pubkey.CleanComment(key.Comment())}, nil
}

// export opens one item with both factors, asked for anew, and writes its key
// as an OpenSSH private key file. The keeper has no part in it.
func (j *job) export(ctx context.Context, req *opener.Export) (*opener.Exported, error) {
	line, err := vaultfile.ParseLine(req.Line)
	if err != nil {
		return nil, err
	}
	o, err := j.openIdentity(ctx, req.Place, req.Passphrase)
	if err != nil {
		return nil, err
	}
	defer o.seeds.Free()
	it, err := j.openItem(o, line)
	if err != nil {
		return nil, err
	}
	defer it.secret.Free()
	var pass []byte
	if req.NewPassphrase != 0 {
		b, p, err := j.passphrase(req.NewPassphrase)
		if err != nil {
			return nil, err
		}
		defer b.Free()
		pass = p
	}
	text, err := keyfile.MarshalOpenSSH(it.secret.Bytes()[:it.n], it.meta.Comment, pass)
	if err != nil {
		return nil, err
	}
	defer guard.Wipe(text)
	out, err := handed(req.Output)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(text); err != nil {
		return nil, errors.Join(fmt.Errorf("write exported key: %w", err), out.Close())
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("write exported key: %w", err)
	}
	return &opener.Exported{Calls: o.calls}, nil
}

// item is one opened item; its owner frees the secret.
type item struct {
	meta   vaultfile.Meta
	secret *guard.Buffer
	n      int // bytes of secret
}

// openItem goes down the hierarchy from the identity to one item, verifying
// each step.
func (j *job) openItem(o *opened, v vaultfile.Revision) (it item, err error) {
	vault := o.members.Vault()
	keys, err := j.slab.Alloc(2 * envelope.KeySize)
	if err != nil {
		return it, err
	}
	defer keys.Free()
	kek, dek := keys.Bytes()[:envelope.KeySize], keys.Bytes()[envelope.KeySize:]
	deks, err := keyring.ParseDeks(o.keyring.Deks, vault)
	if err != nil {
		return it, err
	}
	open := func(version uint64) error {
		seal, ok := o.members.Seal(version, o.identity)
		if !ok {
			return fmt.Errorf("open KEK %d: it is not sealed to this identity", version)
		}
		return o.halves.OpenKEK(kek, seal, vault)
	}
	err = deks.Verify(o.members, func(version uint64, stored []byte) (mac [keyring.MACSize]byte, err error) {
		if err := open(version); err != nil {
			return mac, err
		}
		return envelope.DeksMAC(kek, vault, version, stored)
	})
	if err != nil {
		return it, err
	}
	entry, ok := deks.Lookup(v.Revision)
	if !ok || entry.Item != v.Item {
		return it, &opener.Error{Kind: opener.Damaged, Message: "the keyring has no key for this item"}
	}
	if err := open(entry.KEK); err != nil {
		return it, err
	}
	if err := envelope.UnwrapDEK(dek, kek, vault, entry); err != nil {
		return it, err
	}
	return j.openSealed(dek, envelope.Binding{Vault: vault, Item: v.Item, Revision: v.Revision, Parents: v.Parents, Epoch: v.Epoch}, v)
}

func (j *job) openSealed(dek []byte, b envelope.Binding, v vaultfile.Revision) (it item, err error) {
	meta := make([]byte, envelope.OpenSize(v.Meta))
	n, err := envelope.OpenMeta(meta, dek, b, v.Meta)
	if err != nil {
		return it, err
	}
	if it.meta, err = vaultfile.ParseMeta(meta[:n]); err != nil {
		return it, err
	}
	if it.secret, err = j.slab.Alloc(max(1, envelope.OpenSize(v.Secret))); err != nil {
		return it, err
	}
	if it.n, err = envelope.OpenSecret(it.secret.Bytes(), dek, b, v.Secret); err != nil {
		it.secret.Free()
		return it, err
	}
	return it, nil
}
