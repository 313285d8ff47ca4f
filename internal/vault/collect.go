package vault

import (
	"context"
	"errors"
	"time"

	"vigil/internal/backend"
	"vigil/internal/opener"
)

// collectEvery is how often DEKs that may go are looked for.
const collectEvery = 24 * time.Hour

// collect drops DEKs that nobody needs any more, at most once a day.
func (v *Vault) collect(ctx context.Context, session *opener.Client, o *openVault) error {
	if time.Since(o.collected) < collectEvery {
		return nil
	}
	o.collected = time.Now()
	f, err := v.readFileAfter(o.now().file)
	if err != nil {
		return err
	}
	if err := v.give(ctx, o, f); err != nil {
		return err
	}
	object, err := o.keeper.Collect(ctx, time.Now())
	if err != nil || object == nil {
		return err
	}
	reply, err := session.Do(ctx, opener.Request{Put: &opener.Put{
		Place: v.place(o.id, o.identity), Object: backend.Deks, Data: object, Expect: o.now().keyring.DeksVersion,
	}}, nil)
	if errors.Is(err, &opener.Error{Kind: opener.Conflict}) {
		return nil // another day
	}
	if err != nil {
		return openerError(v.name, err)
	}
	next := o.now().keyring
	if reply.Put != nil {
		next.Deks, next.DeksVersion = object, reply.Put.Version
	}
	return v.reload(ctx, o, next)
}
