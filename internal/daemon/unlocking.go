package daemon

import (
	"context"
	"errors"

	"vigil/internal/ask"
	"vigil/internal/control"
	"vigil/internal/sshagent"
)

// unlocker has a person unlock a vault for a signature.
type unlocker struct{ d *Daemon }

// Unlock asks. See [sshagent.Unlocker].
func (u unlocker) Unlock(ctx context.Context, vault string, q sshagent.Question) error {
	v, err := u.d.find(vault)
	if err != nil {
		return err
	}
	err = v.UnlockFor(ctx, ask.Request{
		Caller: ask.CallerOf(q.Peer.PID), Text: q.ForPassphrase(), Forwarded: q.Forwarded,
	})
	var known *control.Error
	if errors.As(err, &known) {
		return sshagent.Advised(known.Message, known.Next)
	}
	return err
}
