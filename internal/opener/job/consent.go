package job

import (
	"context"

	"vigil/internal/opener"
)

// consent opens the identity as an unlock does, and signs a change. No keeper is involved.
func (j *job) consent(ctx context.Context, req *opener.Consent) (*opener.Consented, error) {
	j.keepPassphrases()
	o, err := j.openIdentity(ctx, req.Place, factors{passphrase: req.Passphrase, off: req.Offline, kept: req.Kept}, anything)
	if err != nil {
		return nil, err
	}
	defer o.ring.Close()
	consent, err := o.ring.Consent(req.Change)
	return &opener.Consented{Consent: consent, Calls: o.calls}, err
}
