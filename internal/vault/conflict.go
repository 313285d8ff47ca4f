package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/vaultfile"
)

func fileName(path string) string { return filepath.Base(path) }

// maxToldCopies is how many conflict copies that can't be taken in are named: a sync
// tool gone wrong may leave thousands.
const maxToldCopies = 3

// copySettles is how long a conflict copy stays once its lines are in the vault
// file. A sync tool makes the copy first and brings the other device's file then:
// until it has, the copy may be all that is left of what this device wrote. For a
// tool that takes longer, the copy is in the file's history.
const copySettles = 5 * time.Second

// takenCopy is a conflict copy that was taken in and isn't removed yet.
type takenCopy struct {
	content id.Hash
	at      time.Time // of the first look at this content
}

// takeConflictCopies adds the lines of conflict copies to the vault file, and
// removes copies whose every line has been in it for copySettles. A copy that can't
// be read whole, or is another vault's, stays where it is. The duration is when to
// look again.
func (v *Vault) takeConflictCopies(ctx context.Context, o *openVault) (again time.Duration, err error) {
	dir := filepath.Dir(v.config().Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return never, err
	}
	var errs []error
	more := 0
	again = never
	before := o.taken
	o.taken = map[string]takenCopy{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !v.isConflictCopy(e.Name()) {
			continue
		}
		taken, err := v.takeCopy(ctx, o.id, filepath.Join(dir, e.Name()), before[e.Name()])
		if taken != (takenCopy{}) {
			o.taken[e.Name()] = taken
			again = copySettles
		}
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
	return again, errors.Join(errs...)
}

// noteCopies says of conflict copies that can't be taken in, once and not at every
// look, which they are and why.
func (v *Vault) noteCopies(err error) {
	shown := control.AsError(err)
	if shown != nil {
		shown.Next = "Look at the copy, and remove it when nothing in it is needed. The vault goes on without it."
	}
	v.mu.Lock()
	same := shown == nil || v.copies != nil && v.copies.Message == shown.Message
	v.copies = shown
	v.mu.Unlock()
	if !same {
		v.d.Log.Warn("conflict copies can't be taken in", "vault", v.name, "err", err)
		v.d.Refused(control.Refusal{What: "read", Vault: v.name, Reason: shown.Message, Next: shown.Next})
	}
}

// takeCopy adds a copy's lines to the vault file, and removes the copy if it is what
// was taken in before and has settled. Else it returns what to remove later.
func (v *Vault) takeCopy(ctx context.Context, vault id.Vault, path string, before takenCopy) (taken takenCopy, err error) {
	data, err := readVaultFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return taken, nil
	}
	if err != nil {
		return taken, fmt.Errorf("take in %q: %w", path, err)
	}
	copied, err := vaultfile.Parse(data, vault)
	if err != nil {
		return taken, fmt.Errorf("take in %q: %w", path, err)
	}
	if len(copied.Damaged()) > 0 {
		return taken, fmt.Errorf("take in %q: %w", path, &copied.Damaged()[0])
	}
	err = durable.Update(ctx, v.config().Path, durable.Options{Keep: true}, func(old []byte) ([]byte, error) {
		f, err := vaultfile.Parse(old, vault)
		if err != nil {
			return nil, err
		}
		next := f.Add(copied.Revisions()...)
		return next.EncodeAll(), v.fits(next.Size())
	})
	if err != nil {
		return taken, fmt.Errorf("take in %q: %w", path, err)
	}
	if content := id.HashOf(data); before.content != content {
		v.d.Log.Info("took in a conflict copy of the vault file", "vault", v.name, "copy", filepath.Base(path), "lines", len(copied.Revisions()))
		return takenCopy{content, time.Now()}, nil
	}
	if time.Since(before.at) < copySettles {
		return before, nil
	}
	now, err := readVaultFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // somebody else was first
		return taken, nil
	case err != nil:
		return taken, fmt.Errorf("take in %q: %w", path, err)
	case !bytes.Equal(now, data):
		return taken, nil // it is being written; its end brings another look
	}
	return taken, durable.Archive(v.config().Path, path)
}
