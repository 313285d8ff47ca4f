package keeper

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// verify opens everything that the vault file holds and the manifest has a DEK
// for, superseded revisions too, and reports what is wrong. The private halves
// are looked at one by one and wiped.
func (s *server) verify(out []byte) ([]byte, error) {
	err := s.withVault(func(v *vault) error {
		parsed, err := s.currentFile()
		if err != nil {
			return err
		}
		manifest := v.ring.Manifest()
		if manifest == nil {
			return fmt.Errorf("%w: no keyring was loaded", ErrRefused)
		}
		problem := func(format string, args ...any) { out = wire.AppendString(out, fmt.Appendf(nil, format, args...)) }
		for i := range parsed.Revisions() {
			line := &parsed.Revisions()[i]
			dek := manifest.Lookup(line.Revision)
			switch {
			case dek == nil || dek.Item != line.Item:
			case dek.Line != parsed.Sums()[i]:
				problem("revision %v of item %v: %v", line.Revision, line.Item, errForged)
			default:
				if err := v.verifyRevision(line, dek); err != nil {
					problem("%v", err)
				}
			}
		}
		view := parsed.See(manifest, nil)
		for _, e := range view.Missing {
			if view.Held[e.Item] { // others may be on their way
				problem("revision %v of item %v is not in the vault file", e.Revision, e.Item)
			}
		}
		return nil
	})
	return out, err
}

// verifyRevision checks that metadata and private key open, and belong together.
func (v *vault) verifyRevision(line *vaultfile.Revision, dek *keyring.DEK) error {
	text, err := v.ring.OpenMeta(line, dek)
	if err != nil {
		return err
	}
	meta, err := vaultfile.ParseMeta(text)
	if err != nil {
		return fmt.Errorf("item %v: %w", line.Item, err)
	}
	return v.ring.WithSecret(line, dek, func(secret []byte) error {
		key, rest, err := v.server.parseKey(secret)
		if err != nil {
			return fmt.Errorf("private key of item %v: %w", line.Item, err)
		}
		defer key.Free()
		if len(rest) != 0 || !bytes.Equal(key.PlainPublic(), meta.Public) {
			return fmt.Errorf("private key of item %v is not the one its metadata names", line.Item)
		}
		return nil
	})
}

// sealLine makes a new revision of a revision that is not in use any more: its
// line comes from the past, its DEK is still in the manifest.
func (s *server) sealLine(r *wire.Reader, out []byte) ([]byte, error) {
	old, err := vaultfile.ParseLine(bytes.Clone(r.String()))
	parents := readRevisions(r)
	if err != nil || r.End() != nil {
		return out, ErrBadRequest
	}
	line := vaultfile.Revision{Item: old.Item, Revision: id.NewRevision(), Parents: parents}
	var dek keyring.DEK
	err = s.withVault(func(v *vault) error {
		manifest := v.ring.Manifest()
		if manifest == nil {
			return fmt.Errorf("%w: no keyring was loaded", ErrRefused)
		}
		oldDEK := manifest.Lookup(old.Revision)
		if oldDEK == nil || oldDEK.Item != old.Item {
			return fmt.Errorf("%w: its DEK is gone from the keyring", ErrNoKey)
		}
		if oldDEK.Line != old.Sum() {
			return fmt.Errorf("%w: %w", ErrDamaged, errForged)
		}
		meta, err := v.ring.OpenMeta(&old, oldDEK)
		if err != nil {
			return err
		}
		return v.ring.WithSecret(&old, oldDEK, func(secret []byte) error {
			dek, err = v.ring.Seal(&line, meta, secret, v.tightens(parents, meta))
			return err
		})
	})
	if err != nil {
		return out, err
	}
	out = wire.AppendString(out, line.AppendLine(nil))
	return appendDEK(out, &dek), nil
}

// collect drops DEKs that were superseded more than 30 days ago and whose
// successor this device's own file has. An empty reply: there are none.
func (s *server) collect(r *wire.Reader, out []byte) ([]byte, error) {
	at := r.Uint64()
	if r.End() != nil {
		return out, ErrBadRequest
	}
	err := s.withVault(func(v *vault) error {
		file, err := s.currentFile()
		if err != nil {
			return err
		}
		if v.ring.Deks() == nil {
			return ring.ErrEmpty
		}
		object, err := v.ring.Collect(v.holds(file), at)
		out = append(out, object...)
		return err
	})
	return out, err
}

// holds tells of a revision whether a file has it whole: a line that's damaged,
// or that somebody put there, must not cost the DEK of the one it replaces.
func (v *vault) holds(file *vaultfile.File) func(id.Item, id.Revision) bool {
	lines := make(map[id.Revision]*vaultfile.Revision, len(file.Revisions()))
	for i := range file.Revisions() {
		line := &file.Revisions()[i]
		if dek := v.ring.Deks().Lookup(line.Revision); dek != nil && dek.Line == file.Sums()[i] {
			lines[line.Revision] = line
		}
	}
	return func(item id.Item, revision id.Revision) bool {
		dek := v.ring.Deks().Lookup(revision)
		line := lines[revision]
		// One that replaces nothing needn't be opened to answer.
		return dek != nil && dek.Item == item && len(dek.Parents) > 0 && line != nil && v.verifyRevision(line, dek) == nil
	}
}

// Verify has every layer and every item of the vault file that the keeper was
// given last checked, and returns what is wrong.
func (c *Client) Verify(ctx context.Context) (problems []string, err error) {
	reply, err := c.call(ctx, opVerify)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(reply)
	for r.Len() > 0 && r.Err() == nil {
		problems = append(problems, string(r.String()))
	}
	return problems, r.End()
}

// SealLine makes a new revision of an earlier one, given by its line. ErrNoKey:
// its DEK is gone.
func (c *Client) SealLine(ctx context.Context, line []byte, parents []id.Revision) (Sealed, error) {
	reply, err := c.call(ctx, opSealLine, appendRevisions(wire.AppendString(nil, line), keyring.SortParents(parents)))
	if err != nil {
		return Sealed{}, err
	}
	return readSealed(reply)
}

// Collect returns the manifest without the DEKs that may go, or nil when all
// stay. The vault file that the keeper was given last is this device's own.
func (c *Client) Collect(ctx context.Context, now time.Time) ([]byte, error) {
	object, err := c.call(ctx, opCollect, wire.AppendUint64(nil, uint64(now.Unix())))
	if len(object) == 0 {
		return nil, err
	}
	return object, err
}
