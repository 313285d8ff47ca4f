package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/keyfile"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/vaultfile"
)

// importKey parses a private key file and gives the key to the keeper.
func (j *job) importKey(_ context.Context, req *opener.Import) (*opener.Key, error) {
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
	return j.handOverKey(key, req.Keeper)
}

// keyPassphrase reads a key file's passphrase. Package keyfile wipes it.
func (j *job) keyPassphrase(f opener.File) ([]byte, error) {
	b, p, err := j.passphrase(f)
	if err != nil {
		return nil, err
	}
	defer b.Free()
	return slices.Clone(p), nil
}

// generate makes a key and gives it to the keeper.
func (j *job) generate(_ context.Context, req *opener.Generate) (*opener.Key, error) {
	key, err := keyfile.Generate(req.Type, req.Bits, req.Comment)
	if err != nil && !errors.Is(err, keyfile.ErrUnsupported) {
		return nil, err // of this machine, whatever the type and the size
	}
	if err != nil {
		return nil, &opener.Error{Kind: opener.BadInput, Message: err.Error(), Next: "`vigilctl generate --help` lists types and sizes."}
	}
	defer func() { _ = key.Close() }()
	return j.handOverKey(key, req.Keeper)
}

func (j *job) handOverKey(key *keyfile.Key, to opener.File) (*opener.Key, error) {
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

// export opens one item with both factors, and writes its key as an OpenSSH private
// key file. No keeper is involved.
func (j *job) export(ctx context.Context, req *opener.Export) (*opener.Exported, error) {
	line, err := vaultfile.ParseLine(req.Line)
	if err != nil {
		return nil, err
	}
	o, err := j.openIdentity(ctx, req.Place, factors{passphrase: req.Passphrase}, anything)
	if err != nil {
		return nil, err
	}
	defer o.ring.Close()
	var pass []byte
	if req.NewPassphrase != 0 {
		b, p, err := j.passphrase(req.NewPassphrase)
		if err != nil {
			return nil, err
		}
		defer b.Free()
		pass = p
	}
	if err := j.exportItem(o, &line, pass, req.Output); err != nil {
		return nil, err
	}
	return &opener.Exported{Calls: o.calls}, nil
}

// exportItem opens each level from the identity down to one item, verifying each, and
// writes the key.
func (j *job) exportItem(o *opened, line *vaultfile.Revision, pass []byte, to opener.File) error {
	if err := o.ring.Load(o.keyring.Members, o.keyring.Deks, j.known(), keyring.Update{}); err != nil {
		return err
	}
	dek := o.ring.Deks().Lookup(line.Revision)
	if dek == nil || dek.Item != line.Item || dek.Line != line.Sum() {
		return &opener.Error{Kind: opener.Damaged, Message: "the keyring has no key for this item"}
	}
	text, err := o.ring.OpenMeta(line, dek)
	if err != nil {
		return err
	}
	meta, err := vaultfile.ParseMeta(text)
	if err != nil {
		return err
	}
	return o.ring.WithSecret(line, dek, func(secret []byte) error {
		text, err := keyfile.MarshalOpenSSH(secret, cmp.Or(meta.Comment, meta.Name), pass)
		if err != nil {
			return err
		}
		defer guard.Wipe(text)
		return writeTo(to, text)
	})
}

func writeTo(to opener.File, text []byte) error {
	out, err := handed(to)
	if err != nil {
		return err
	}
	_, err = inTime(func() (int, error) { return out.Write(text) })
	if errors.Is(err, errLate) {
		return err
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write exported key: %w", err), out.Close())
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write exported key: %w", err)
	}
	return nil
}
