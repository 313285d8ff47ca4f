package keypair

import (
	"bytes"
	"fmt"

	"filippo.io/mldsa"

	"vigil/internal/guard"
)

const (
	// CompositeSecretSize is the size of the two seeds of ML-DSA-44 with Ed25519,
	// and CompositePublicSize of their public keys, in bytes; each in this order.
	CompositeSecretSize = mldsa.PrivateKeySize + SeedSize
	CompositePublicSize = mldsa.MLDSA44PublicKeySize + PointSize
)

// Composite is an ML-DSA-44 with Ed25519 key (draft-ietf-sshm-composite-sigs) whose
// halves belong together. It owns guarded memory until Free.
type Composite struct {
	Public []byte // both public keys
	// Secret is the seed of ML-DSA-44, then the expanded Ed25519 key.
	Secret *guard.Buffer
}

// NewComposite copies both seeds into slab. public holds both public keys, or is nil if
// there are none to compare with. NewComposite fails with ErrMalformed, ErrMismatch or
// an error of the slab.
func NewComposite(slab *guard.Slab, seeds, public []byte) (*Composite, error) {
	if len(seeds) != CompositeSecretSize || public != nil && len(public) != CompositePublicSize {
		return nil, fmt.Errorf("%w: size of an ML-DSA-44 and Ed25519 key", ErrMalformed)
	}
	buf, err := slab.Alloc(mldsa.PrivateKeySize + expandedSize)
	if err != nil {
		return nil, err
	}
	guard.Copy(buf.Bytes(), seeds[:mldsa.PrivateKeySize])
	classical := expand(buf.Bytes()[mldsa.PrivateKeySize:], seeds[mldsa.PrivateKeySize:])
	k := &Composite{Secret: buf, Public: make([]byte, CompositePublicSize)}
	guard.Do(func() {
		pq, failed := mldsa.NewPrivateKey(mldsa.MLDSA44(), buf.Bytes()[:mldsa.PrivateKeySize])
		if err = failed; err == nil {
			copy(k.Public, pq.PublicKey().Bytes())
		}
	})
	copy(k.Public[mldsa.MLDSA44PublicKeySize:], classical[:])
	if err != nil || public != nil && !bytes.Equal(k.Public, public) {
		k.Free()
		return nil, ErrMismatch
	}
	return k, nil
}

// Free wipes the private half.
func (k *Composite) Free() { k.Secret.Free() }
