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

// maxToldCopies limits how many unusable conflict copies are named: a broken sync
// tool may leave thousands.
const maxToldCopies = 3

// copyGrace is how long a conflict copy is kept after its lines are in the vault
// file. A sync tool may first create the copy and then replace the file with the
// other device's, so until then the copy may be the only one of this device's lines.
// For slower tools, the copy is in the file's history.
const copyGrace = 5 * time.Second

// takenCopy is a conflict copy that was merged but not yet removed.
type takenCopy struct {
	content id.Hash
	at      time.Time // when this content was first read
}

// takeConflictCopies merges conflict copies into the vault file, and removes those
// merged at least copyGrace ago. It leaves copies that are damaged or of another
// vault. It returns when to look again.
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
			again = copyGrace
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

// noteCopies reports conflict copies that can't be merged, once for the same message.
func (v *Vault) noteCopies(err error) {
	shown := control.AsError(err)
	if shown != nil {
		shown.Next = "Look at the copy, and remove it when nothing in it is needed. The vault works without it."
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

// takeCopy merges a copy into the vault file. It removes the copy if before has the same
// content and is at least copyGrace old; otherwise it returns what to pass next time.
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
		next, err := vaultfile.Merge(f, copied)
		if err != nil {
			return nil, err
		}
		return next.EncodeAll(), v.fits(next.Size())
	})
	if err != nil {
		return taken, fmt.Errorf("take in %q: %w", path, err)
	}
	if content := id.HashOf(data); before.content != content {
		v.d.Log.Info("took in a conflict copy of the vault file", "vault", v.name, "copy", filepath.Base(path), "lines", len(copied.Lines()))
		return takenCopy{content, time.Now()}, nil
	}
	if time.Since(before.at) < copyGrace {
		return before, nil
	}
	now, err := readVaultFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process removed it
		return taken, nil
	case err != nil:
		return taken, fmt.Errorf("take in %q: %w", path, err)
	case !bytes.Equal(now, data):
		return taken, nil // still being written: the watcher reports the end
	}
	return taken, durable.Archive(v.config().Path, path)
}
