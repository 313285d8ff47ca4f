package ring

import (
	"errors"
	"fmt"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

func (r *Ring) binding(v *vaultfile.Revision) envelope.Binding {
	return envelope.Binding{Vault: r.vault, Item: v.Item, Revision: v.Revision, Parents: v.Parents, Epoch: v.Epoch}
}

// withDEK runs f on a DEK in guarded memory that is wiped afterwards.
func (r *Ring) withDEK(e *keyring.DEK, f func(dek []byte) error) error {
	kek, err := r.kek(e.KEK)
	if err != nil {
		return err
	}
	dek, err := r.alloc(envelope.KeySize)
	if err != nil {
		return err
	}
	defer dek.Free()
	if err := envelope.UnwrapDEK(dek.Bytes(), kek, r.vault, *e); err != nil {
		return err
	}
	return f(dek.Bytes())
}

// OpenMeta returns a revision's metadata, canonical JSON. It is no secret to
// this process or the front, so it's on the heap.
func (r *Ring) OpenMeta(v *vaultfile.Revision, e *keyring.DEK) (meta []byte, err error) {
	err = r.withDEK(e, func(dek []byte) error {
		meta = make([]byte, envelope.OpenSize(v.Meta))
		n, err := envelope.OpenMeta(meta, dek, r.binding(v), v.Meta)
		meta = meta[:n]
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open metadata of item %v: %w", v.Item, err)
	}
	return meta, nil
}

// WithSecret runs f on a revision's private key, in SSH_AGENTC_ADD_IDENTITY's
// encoding, in guarded memory that is wiped afterwards.
func (r *Ring) WithSecret(v *vaultfile.Revision, e *keyring.DEK, f func(secret []byte) error) error {
	return r.withDEK(e, func(dek []byte) error {
		secret, err := r.alloc(max(1, envelope.OpenSize(v.Secret)))
		if err != nil {
			return err
		}
		defer secret.Free()
		n, err := envelope.OpenSecret(secret.Bytes(), dek, r.binding(v), v.Secret)
		if err != nil {
			return fmt.Errorf("open private key of item %v: %w", v.Item, err)
		}
		return f(secret.Bytes()[:n])
	})
}

// Seal seals metadata and a private key as the revision v, whose other fields
// the caller has filled in but for the epoch, under a new DEK. It completes v
// and returns its entry for deks.
func (r *Ring) Seal(v *vaultfile.Revision, meta, secret []byte) (e keyring.DEK, err error) {
	if r.deks == nil {
		return e, ErrEmpty
	}
	v.Epoch = r.deks.Epoch()
	e = keyring.DEK{Item: v.Item, Revision: v.Revision, Parents: v.Parents, KEK: r.deks.KEK()}
	kek, err := r.kek(e.KEK)
	if err != nil {
		return e, err
	}
	dek, err := r.newKey()
	if err != nil {
		return e, err
	}
	defer dek.Free()
	if v.Meta, err = envelope.SealMeta(dek.Bytes(), r.binding(v), meta); err != nil {
		return e, err
	}
	if v.Secret, err = envelope.SealSecret(dek.Bytes(), r.binding(v), secret); err != nil {
		return e, err
	}
	e.Wrapped, err = envelope.WrapDEK(kek, dek.Bytes(), r.vault, e.Item, e.Revision, e.KEK)
	return e, err
}

// Apply makes the next manifest: the update applied, its DEKs rewrapped where a
// rotation came in between, authenticated. Additions to items that were removed
// elsewhere aren't made but returned.
func (r *Ring) Apply(u keyring.Update, now uint64) (object []byte, deleted []keyring.DEK, err error) {
	if r.deks == nil {
		return nil, nil, ErrEmpty
	}
	for i := range u.Add {
		if err := r.rewrapTo(&u.Add[i], r.deks.KEK()); err != nil {
			return nil, nil, err
		}
	}
	next, deleted, err := r.deks.Apply(u, r.members, now)
	if err != nil {
		return nil, nil, err
	}
	object, err = next.Encode(r.MAC)
	return object, deleted, err
}

// Collect returns the manifest without the DEKs that were superseded more than
// 30 days before now and whose successor held says this device's own file has,
// or nil when there are none.
func (r *Ring) Collect(held func(id.Item, id.Revision) bool, now uint64) ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	next, collected := r.deks.Collect(r.members, now, held)
	if len(collected) == 0 {
		return nil, nil
	}
	return next.Encode(r.MAC)
}

// rewrapTo wraps a DEK by another KEK version, if it isn't yet.
func (r *Ring) rewrapTo(e *keyring.DEK, version uint64) error {
	if e.KEK == version {
		return nil
	}
	kek, err := r.kek(version)
	if err != nil {
		return err
	}
	err = r.withDEK(e, func(dek []byte) (err error) {
		e.Wrapped, err = envelope.WrapDEK(kek, dek, r.vault, e.Item, e.Revision, version)
		return err
	})
	if err != nil {
		return fmt.Errorf("rewrap DEK of revision %v: %w", e.Revision, err)
	}
	e.KEK = version
	return nil
}

// Damaged tells whether err says that something stored fails its check, as
// opposed to a want of memory.
func Damaged(err error) bool {
	return err != nil && !errors.Is(err, guard.ErrFull) && !errors.Is(err, ErrNotAMember)
}
