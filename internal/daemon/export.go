package daemon

import (
	"context"
	"os"

	"vigil/internal/control"
	"vigil/internal/opener"
)

// Export writes a key file, after asking for the passphrase again.
func (h *handler) Export(ctx context.Context, call *control.Call, req *control.ExportRequest) (*control.ExportReply, error) {
	return withKey(ctx, h.d, req.Vault, req.Key, func(ctx context.Context, v *vault, o *openVault, f *fact) (*control.ExportReply, error) {
		if err := v.export(ctx, o, f, req, asker(call)); err != nil {
			return nil, err
		}
		r := &control.ExportReply{Key: v.describe(f)}
		if req.Plaintext {
			r.Notices = append(r.Notices, "The file isn't protected by a passphrase: whoever reads it has the key.")
		}
		return r, nil
	})
}

// export has an opener open one item from scratch; the keeper has no part in it.
func (v *vault) export(ctx context.Context, o *openVault, f *fact, req *control.ExportRequest, ask opener.Asker) error {
	line, err := v.line(f)
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
		return control.Errorf(control.CodeUsage, "Give a passphrase for the file, or insist with --plaintext.", "an exported key needs a passphrase")
	}
	c, err := opener.Start(ctx, v.d.o.Opener, o.id, files...)
	if err != nil {
		return openerError(v.name, err)
	}
	defer c.Close()
	reply, err := c.Do(ctx, opener.Request{Export: &job}, ask)
	v.noteAttempt(err)
	if err != nil {
		v.d.why.note(control.Refusal{What: "export", Vault: v.name, Key: f.meta.Name, Reason: err.Error(), UID: os.Getuid()})
		return openerError(v.name, err)
	}
	if reply.Export != nil {
		v.d.calls.add(reply.Export.Calls)
	}
	return nil
}

// line returns a revision's line of the vault file.
func (v *vault) line(f *fact) ([]byte, error) {
	file, err := v.readFile()
	if err != nil {
		return nil, err
	}
	for i := range file.Revisions() {
		if r := &file.Revisions()[i]; r.Revision == f.revision && r.Item == f.item {
			return r.Line(), nil
		}
	}
	return nil, control.Errorf(control.CodeDamaged, "Put back a good copy of the vault file.", "vault %q has no line of key %q any more", v.name, f.meta.Name)
}
