package envelope

import (
	"crypto/ed25519"

	"vigil/internal/id"
)

// Consent signs a change as the identity. Only who has both factors can: it is how an
// opener, which took the passphrase for this change, tells the keeper.
func (h *Halves) Consent(vault id.Vault, change id.Hash) ([]byte, error) {
	return h.Sign(consentContext(vault, h.identity, change))
}

// Consented reports whether consent is the identity's consent to a change.
func (h *Halves) Consented(vault id.Vault, change id.Hash, consent []byte) bool {
	public, err := h.Public()
	return err == nil && ed25519.Verify(public.Ed25519[:], consentContext(vault, h.identity, change), consent)
}

// consentContext is what is signed. As in the format's signed messages, its label comes
// first, so that no signature is taken for one of another kind.
func consentContext(vault id.Vault, identity id.Identity, change id.Hash) Context {
	return NewContext(labelConsent, vault[:], identity[:], change[:])
}
