package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/vaultfile"
)

func fileName(path string) string { return filepath.Base(path) }

// maxToldCopies is how many conflict copies that can't be taken in are named: a sync
// tool gone wrong may leave thousands.
const maxToldCopies = 3

// takeConflictCopies adds the lines of conflict copies to the vault file and
// removes those copies whose every line is in it now. A copy that can't be read
// whole, or is another vault's, stays where it is.
func (v *vault) takeConflictCopies(ctx context.Context, o *openVault) error {
	dir := filepath.Dir(v.cfg.Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	more := 0
	for _, e := range entries {
		if !e.Type().IsRegular() || !v.isConflictCopy(e.Name()) {
			continue
		}
		err := v.takeCopy(ctx, o, filepath.Join(dir, e.Name()))
		switch {
		case err == nil:
		case len(errs) < maxToldCopies:
			errs = append(errs, err)
		default:
			more++
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

// noteCopies says of conflict copies that can't be taken in, once and not at every
// look, which they are and why.
func (v *vault) noteCopies(err error) {
	shown := control.AsError(err)
	if shown != nil {
		shown.Next = "Look at the copy, and remove it when nothing in it is needed. The vault goes on without it."
	}
	v.mu.Lock()
	same := shown == nil || v.copies != nil && v.copies.Message == shown.Message
	v.copies = shown
	v.mu.Unlock()
	if !same {
		v.d.log.Warn("conflict copies can't be taken in", "vault", v.name, "err", err)
		v.d.why.note(control.Refusal{What: "read", Vault: v.name, Reason: shown.Message, Next: shown.Next})
	}
}

func (v *vault) takeCopy(ctx context.Context, o *openVault, path string) error {
	data, err := readVaultFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take in %q: %w", path, err)
	}
	copied, err := vaultfile.Parse(data, o.id)
	if err != nil {
		return fmt.Errorf("take in %q: %w", path, err)
	}
	if len(copied.Damaged()) > 0 {
		return fmt.Errorf("take in %q: %w", path, &copied.Damaged()[0])
	}
	err = durable.Update(ctx, v.cfg.Path, durable.Options{Keep: true}, func(old []byte) ([]byte, error) {
		f, err := vaultfile.Parse(old, o.id)
		if err != nil {
			return nil, err
		}
		next := f.Add(copied.Revisions()...)
		return next.EncodeAll(), v.fits(next.Size())
	})
	if err != nil {
		return fmt.Errorf("take in %q: %w", path, err)
	}
	v.d.log.Info("took in a conflict copy of the vault file", "vault", v.name, "copy", filepath.Base(path), "lines", len(copied.Revisions()))
	now, err := readVaultFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // somebody else was first
		return nil
	case err != nil:
		return fmt.Errorf("take in %q: %w", path, err)
	case !bytes.Equal(now, data):
		return nil // it is still being written; its end brings another look
	}
	return durable.Remove(path)
}
