package ring

import (
	"fmt"
	"slices"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

func (r *Ring) binding(v *vaultfile.Revision) envelope.Binding {
	return envelope.Binding{Vault: r.vault, Item: v.Item, Revision: v.Revision, Parents: v.Parents}
}

// withDEK runs f on a DEK in guarded memory that is wiped afterwards.
func (r *Ring) withDEK(e *keyring.DEK, f func(dek []byte) error) error {
	dek, err := r.alloc(envelope.KeySize)
	if err != nil {
		return err
	}
	defer dek.Free()
	if e.Waits {
		err = r.withOwnKey(func(own []byte) error {
			return envelope.UnwrapWaiting(dek.Bytes(), e, own, r.vault, r.identity)
		})
	} else {
		err = r.unwrap(dek.Bytes(), e)
	}
	if err != nil {
		return err
	}
	return f(dek.Bytes())
}

// unwrap opens a DEK of the manifest.
func (r *Ring) unwrap(dst []byte, e *keyring.DEK) error {
	kek, err := r.kek(r.deks.KEK())
	if err != nil {
		return err
	}
	return envelope.UnwrapDEK(dst, e, kek, r.vault, r.deks.KEK())
}

// withOwnKey runs f on the identity's own key, which wraps the DEKs of pending
// changes. The key is in guarded memory and wiped afterwards.
func (r *Ring) withOwnKey(f func(own []byte) error) error {
	own, err := r.alloc(envelope.KeySize)
	if err != nil {
		return err
	}
	defer own.Free()
	if err := envelope.OwnKey(own.Bytes(), r.seeds.Bytes(), r.vault, r.identity); err != nil {
		return err
	}
	return f(own.Bytes())
}

// OpenMeta returns a revision's metadata, canonical JSON. It is not secret from
// this process or the front, so it is on the heap.
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

// Seal encrypts metadata and a private key under a new DEK, as the revision v,
// whose other fields the caller has filled in. It completes v and returns its
// manifest entry with Waits set: the DEK is wrapped by this identity's own key
// until Apply wraps it by a KEK.
func (r *Ring) Seal(v *vaultfile.Revision, meta, secret []byte, tightens bool) (e keyring.DEK, err error) {
	if r.deks == nil {
		return e, ErrEmpty
	}
	if err := r.mayWrite(); err != nil {
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
	e = keyring.DEK{Item: v.Item, Revision: v.Revision, Parents: v.Parents, Line: v.Sum(), Tightens: tightens, Waits: true}
	err = r.withOwnKey(func(own []byte) error {
		return envelope.WrapWaiting(&e, own, dek.Bytes(), r.vault, r.identity)
	})
	return e, err
}

// mayWrite refuses writes by an identity that every device would refuse.
func (r *Ring) mayWrite() error {
	me, ok := r.members.Identity(r.identity)
	switch {
	case !ok:
		return ErrNotAMember
	case me.Role == keyring.Reader:
		return ErrReader
	}
	return nil
}

// Apply returns the next manifest, under the newest KEK, with the update
// applied, authenticated and signed. It leaves out additions to items that were
// removed elsewhere and returns them in deleted.
func (r *Ring) Apply(u keyring.Update, now uint64) (object []byte, deleted []keyring.DEK, err error) {
	if r.deks == nil {
		return nil, nil, ErrEmpty
	}
	if err := r.mayWrite(); err != nil {
		return nil, nil, err
	}
	newest := r.members.KEK()
	add := slices.Clone(u.Add)
	for i := range add {
		if err := r.rewrapTo(&add[i], newest); err != nil {
			return nil, nil, err
		}
	}
	from := r.deks
	if from.KEK() != newest {
		if from, err = r.rewrapped(); err != nil {
			return nil, nil, err
		}
	}
	next, deleted, err := from.Apply(keyring.Update{Add: add, Remove: u.Remove}, r.members, now)
	if err != nil {
		return nil, nil, err
	}
	object, err = next.Encode(r.halves, r.MAC)
	return object, deleted, err
}

// Collect returns the manifest without the DEKs that were superseded more than
// 30 days before now and whose successor is, as held reports, in this device's
// own file. It returns nil if there are none or this identity may not write.
func (r *Ring) Collect(held func(id.Item, id.Revision) bool, now uint64) ([]byte, error) {
	if r.deks == nil {
		return nil, ErrEmpty
	}
	if r.mayWrite() != nil {
		return nil, nil
	}
	next, collected := r.deks.Collect(r.members, now, held)
	if len(collected) == 0 {
		return nil, nil
	}
	return next.Encode(r.halves, r.MAC)
}

// rewrapTo wraps a DEK, from the manifest or pending, by a KEK version.
func (r *Ring) rewrapTo(e *keyring.DEK, version uint64) error {
	kek, err := r.kek(version)
	if err != nil {
		return err
	}
	err = r.withDEK(e, func(dek []byte) error { return envelope.WrapDEK(e, kek, dek, r.vault, version) })
	if err != nil {
		return fmt.Errorf("rewrap DEK of revision %v: %w", e.Revision, err)
	}
	e.Waits = false
	return nil
}
