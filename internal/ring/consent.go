package ring

import "vigil/internal/id"

// Consent signs a change as the ring's identity. See [envelope.Halves.Consent].
func (r *Ring) Consent(change id.Hash) ([]byte, error) { return r.halves.Consent(r.vault, change) }

// Consented reports whether consent is the ring's identity's consent to a change.
func (r *Ring) Consented(change id.Hash, consent []byte) bool {
	return r.halves.Consented(r.vault, change, consent)
}
