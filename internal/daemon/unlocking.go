package daemon

import (
	"context"
	"errors"
	"fmt"

	"vigil/internal/ask"
	"vigil/internal/control"
	"vigil/internal/pubkey"
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
	err = v.UnlockFor(ctx, ask.Request{Caller: ask.CallerOf(q.Peer.PID), Text: unlockText(q)})
	var known *control.Error
	if errors.As(err, &known) {
		return sshagent.Advised(known.Message, known.Next)
	}
	return err
}

// maxShown is how many characters of each text a prompt shows: a long one must not hide
// the others.
const maxShown = 200

// unlockText is what a person reads who is asked for a vault's passphrase. What the
// program that asks says of itself stands apart from what the agent knows.
func unlockText(q sshagent.Question) string {
	s := fmt.Sprintf("Passphrase of vault %s, to use its key %.*s.\nKey fingerprint %s.", q.Vault, maxShown, q.Comment, q.Fingerprint)
	if q.Purpose != "" {
		s += fmt.Sprintf("\nFor: %.*s", maxShown, q.Purpose)
	}
	if q.From != "" {
		s += "\nThrough the agent forwarded to the host with key " + q.From + "."
	}
	if q.Peer.Program != "" {
		s += fmt.Sprintf("\n\nNot verified: asked by %.*s (process %d)", maxShown, pubkey.CleanComment(q.Peer.Program), q.Peer.PID)
	}
	return s
}
