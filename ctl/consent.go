package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"vigil/internal/control"
)

// passphraseAgain is the prompt for a passphrase that is asked for although the vault is
// unlocked.
const passphraseAgain = "Passphrase of the vault: "

// sendConsent is send for a request that may let a key do more than before. Unless a flag
// gives the passphrase, it asks once the daemon says what the change would allow, and then
// names that change: if the key has become another meanwhile, nothing is changed.
func sendConsent[R any](ctx context.Context, a *app, pass *source, req control.Request[R], given *control.Consent, human func(io.Writer, *R)) error {
	if !pass.given() {
		err := send(ctx, a, req, human)
		var e *control.Error
		if !errors.As(err, &e) || e.Code != control.CodePassphrase {
			return err
		}
		given.Change, pass.why = e.Change, e.Message
	}
	return sendWithPassphrase(ctx, a, pass, passphraseAgain, req, &given.Passphrase, human)
}

// sentence returns a message as one.
func sentence(message string) string {
	return strings.ToUpper(message[:1]) + message[1:] + "."
}
