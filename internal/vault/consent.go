package vault

import (
	"context"
	"errors"
	"os"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

// What lets a key do more than before, or removes it, takes the passphrase even if the vault
// is unlocked. An opener opens the identity with both factors, and signs the change: a
// consent. The keeper judges what needs one, and checks it. Without network, a kept share
// will do, as for an unlock.

// withConsent writes a change of a key. If the keeper refuses it without a consent, it takes
// the passphrase, and writes the change again.
func (v *Vault) withConsent(ctx context.Context, o *openVault, ask opener.Asker, r control.Refusal, given control.Consent, change id.Hash, write func(consent []byte) (pending bool, err error)) (pending bool, err error) {
	if given.Change != "" && given.Change != change.String() {
		return false, changedMeanwhile(r.Key)
	}
	pending, err = write(nil)
	if !errors.Is(err, keeper.ErrLoosens) {
		return pending, err
	}
	if given.Passphrase == nil {
		return false, v.needsPassphrase(r.Key, change, err)
	}
	consent, err := v.consent(ctx, o, ask, r, given.Passphrase, change)
	if err != nil {
		return false, err
	}
	return write(consent)
}

// consent has an opener sign a change, which takes the passphrase.
func (v *Vault) consent(ctx context.Context, o *openVault, ask opener.Asker, r control.Refusal, passphrase *os.File, change id.Hash) ([]byte, error) {
	job, seen, err := v.consentJob(o.id, o.identity, change)
	if err != nil {
		return nil, err
	}
	c, err := v.d.Opener.Start(ctx, o.id, passphrase)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	defer c.Close()
	return v.consentBy(ctx, c, job, seen, ask, r)
}

// consentJob returns the job of an opener whose first file is the passphrase.
func (v *Vault) consentJob(vault id.Vault, identity id.Identity, change id.Hash) (*opener.Consent, opener.Seen, error) {
	st := v.d.State.Vault(vault)
	seen, err := v.seen(st)
	if err != nil {
		return nil, seen, err
	}
	off, err := v.offline(st)
	if err != nil {
		v.d.Log.Warn("no consent without network", "vault", v.name, "err", err)
	}
	return &opener.Consent{Place: v.place(vault, identity), Passphrase: 1, Offline: off, Change: change}, seen, nil
}

// consentBy runs the job. A wrong passphrase delays the next attempt.
func (v *Vault) consentBy(ctx context.Context, c *opener.Client, job *opener.Consent, seen opener.Seen, ask opener.Asker, r control.Refusal) ([]byte, error) {
	if err := v.slowDown(ctx); err != nil {
		return nil, err
	}
	consented, err := opener.Do(ctx, c, job, seen, ask)
	v.noteAttempt(err)
	if err == nil {
		v.d.Calls.add(consented.Calls)
		return consented.Consent, nil
	}
	err = openerError(v.name, err)
	if e := control.AsError(err); e.Code == control.CodeUnreachable {
		err = &failure{control.Errorf(e.Code, "Nothing was changed. It takes the passphrase and the master key: try again when both can be had.", "%s", e.Message), err}
	}
	v.refused(ctx, r, err)
	return nil, err
}

// needsPassphrase returns the error of a change that loosens, as the keeper says how.
func (v *Vault) needsPassphrase(key string, change id.Hash, err error) error {
	e := control.Errorf(control.CodePassphrase, "Nothing was changed. It takes the passphrase of vault "+v.name+".", "this change of key %q %v", key, err)
	e.Change = change.String()
	return e
}

func changedMeanwhile(key string) error {
	return control.Errorf(control.CodeExists, "Look at it, and try again.", "key %q was changed elsewhere meanwhile; nothing was changed here", key)
}
