package vault

import (
	"context"
	"os"

	"vigil/internal/control"
	"vigil/internal/opener"
)

// Export writes a key file. It asks for the passphrase again.
func (v *Vault) Export(ctx context.Context, ask opener.Asker, key *Key, req *control.ExportRequest) (*control.ExportReply, error) {
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.ExportReply, error) {
		if err := v.export(ctx, o, key, req, ask); err != nil {
			return nil, err
		}
		r := &control.ExportReply{Key: key.describe(v.name, v.config().Approve)}
		if req.Plaintext {
			r.Notices = append(r.Notices, "The file isn't protected by a passphrase: whoever reads it has the key.")
		}
		return r, nil
	})
}

// export has an opener decrypt one item from scratch. The keeper isn't involved.
func (v *Vault) export(ctx context.Context, o *openVault, k *Key, req *control.ExportRequest, ask opener.Asker) error {
	line, err := v.line(k)
	if err != nil {
		return err
	}
	if err := v.slowDown(ctx); err != nil {
		return err
	}
	files := []*os.File{req.Passphrase, req.Output}
	job := opener.Export{Place: v.place(o.id, o.identity), Passphrase: 1, Output: 2, Line: line}
	switch {
	case req.NewPassphrase != nil:
		files = append(files, req.NewPassphrase)
		job.NewPassphrase = 3
	case !req.Plaintext:
		return control.Errorf(control.CodeUsage, "Give a passphrase for the file, or insist with --no-passphrase.", "an exported key needs a passphrase")
	}
	c, err := v.d.Opener.Start(ctx, o.id, files...)
	if err != nil {
		return openerError(v.name, err)
	}
	defer c.Close()
	exported, err := opener.Do(ctx, c, &job, opener.Seen{}, ask)
	v.noteAttempt(err)
	if err != nil {
		err = openerError(v.name, err)
		v.refused(ctx, control.Refusal{What: "export", Key: k.meta.Name}, err)
		return err
	}
	v.d.Calls.add(exported.Calls)
	return nil
}

// line returns a revision's line of the vault file.
func (v *Vault) line(k *Key) ([]byte, error) {
	file, err := v.readFile()
	if err != nil {
		return nil, err
	}
	for i := range file.Lines() {
		if l := &file.Lines()[i]; l.Revision == k.revision && l.Item == k.item {
			return l.Text(), nil
		}
	}
	return nil, control.Errorf(control.CodeDamaged, "Put back a good copy of the vault file.", "vault %q has no line of key %q any more", v.name, k.meta.Name)
}
