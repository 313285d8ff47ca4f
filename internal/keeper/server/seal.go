package server

import (
	"bytes"
	"fmt"
	"slices"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/policy"
	"vigil/internal/vaultfile"
)

// seal makes a new revision under a new DEK: its line for the vault file, and its
// entry for deks.
func (s *server) seal(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadSealRequest(body)
	if err != nil {
		return out, err
	}
	line := vaultfile.Revision{Item: q.Item, Revision: id.NewRevision(), Parents: q.Parents}
	var dek keyring.DEK
	err = s.withVault(func(v *vault) error {
		sealIt := func(secret []byte) (err error) {
			dek, err = v.ring.Seal(&line, q.Meta, secret, v.tightens(line.Parents, q.Meta))
			return err
		}
		if q.Draft != 0 {
			if len(q.Parents) > 0 {
				return fmt.Errorf("%w: a new key replaces none", keeper.ErrRefused)
			}
			return s.withDraft(q.Draft, sealIt)
		}
		it := v.items[q.Source]
		if it == nil {
			return keeper.ErrNoKey
		}
		if it.line.Item != q.Item {
			return fmt.Errorf("%w: revision %v is not of item %v", keeper.ErrRefused, q.Source, q.Item)
		}
		if err := v.consented(&line, q.Meta, q.Change(), q.Consent); err != nil {
			return err
		}
		return v.withSecret(it, sealIt)
	})
	return sealed(out, &line, dek, err)
}

// sealLine makes a new revision from a past line, whose DEK is still in the manifest.
func (s *server) sealLine(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadSealLineRequest(body)
	if err != nil {
		return out, err
	}
	old, err := vaultfile.ParseLine(bytes.Clone(q.Line))
	if err != nil {
		return out, keeper.ErrBadRequest
	}
	line := vaultfile.Revision{Item: old.Item, Revision: id.NewRevision(), Parents: q.Parents}
	var dek keyring.DEK
	err = s.withVault(func(v *vault) error {
		manifest := v.ring.Manifest()
		if manifest == nil {
			return fmt.Errorf("%w: no keyring was loaded", keeper.ErrRefused)
		}
		oldDEK := manifest.Lookup(old.Revision)
		if oldDEK == nil || oldDEK.Item != old.Item {
			return fmt.Errorf("%w: its DEK is gone from the keyring", keeper.ErrNoKey)
		}
		if oldDEK.Line != old.Sum() {
			return fmt.Errorf("%w: %w", keeper.ErrDamaged, errForged)
		}
		meta, err := v.ring.OpenMeta(&old, oldDEK)
		if err != nil {
			return err
		}
		if err := v.consented(&line, meta, q.Change(), q.Consent); err != nil {
			return err
		}
		return v.ring.WithSecret(&old, oldDEK, func(secret []byte) error {
			dek, err = v.ring.Seal(&line, meta, secret, v.tightens(line.Parents, meta))
			return err
		})
	})
	return sealed(out, &line, dek, err)
}

// sealed appends a new revision to out, or returns err.
func sealed(out []byte, line *vaultfile.Revision, dek keyring.DEK, err error) ([]byte, error) {
	if err != nil {
		return out, err
	}
	return keeper.Sealed{Line: line.Text(), DEK: dek}.Append(out), nil
}

// tightens reports whether meta restricts a key's use more than one of the revisions
// that it replaces. Unreadable metadata counts as unrestricted, with every permission.
func (v *vault) tightens(parents []id.Revision, meta []byte) bool {
	next, err := vaultfile.ParseMeta(meta)
	return err != nil || slices.ContainsFunc(parents, func(p id.Revision) bool {
		old, known := v.policy(v.items[p])
		if !known {
			old = &vaultfile.Policy{AllowSHA1: true, Approve: policy.ApproveNever}
		}
		return next.Policy.Tightens(old)
	})
}

// policy returns the policy of a revision in use, if it can be read.
func (v *vault) policy(it *item) (p *vaultfile.Policy, known bool) {
	if it == nil {
		return nil, false
	}
	text, err := v.openMeta(it)
	if err != nil {
		return nil, false
	}
	m, err := vaultfile.ParseMeta(text)
	return &m.Policy, err == nil
}
