package vault

import (
	"context"
	"errors"
	"fmt"
	"os"

	"vigil/internal/ask"
	"vigil/internal/config"
	"vigil/internal/control"
)

// UnlockFor has a person unlock the vault for a signature, where the configuration and the
// place of the session allow it. The error is a control.Error: what was asked and how it
// ended is for `vigilctl why`.
func (v *Vault) UnlockFor(ctx context.Context, r ask.Request) error {
	next := "Unlock it: vigilctl unlock --vault " + v.name
	if v.d.Asker == nil || v.config().Locked != config.LockedAsk {
		return control.Errorf(control.CodeLocked, next, "vault %s is locked", v.name)
	}
	err := v.desk.Ask(ctx, r)
	var known *control.Error
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &known):
		return err
	case errors.Is(err, ask.ErrUnavailable):
		return control.Errorf(control.CodeLocked, next+". What it takes to be asked for the passphrase: docs/asking.md.",
			"vault %s is locked, and %v", v.name, err)
	}
	return control.Errorf(control.CodeLocked, next, "vault %s is locked: %v", v.name, err)
}

// askPassphrase shows a prompt for the vault, and unlocks it with what is typed.
func (v *Vault) askPassphrase(ctx context.Context, r ask.Request) error {
	environ, err := v.d.Places.Environ(ctx, r.Caller)
	if err != nil {
		return err
	}
	// What prevents an unlock is known before anyone types a passphrase.
	if _, _, err := v.readHeader(); err != nil {
		return err
	}
	if err := v.Complete(); err != nil {
		return err
	}
	q := ask.Question{Environ: environ, Title: "Vigil", Text: r.Text, Memory: v.d.Keeper.Memory}
	return v.d.Asker.Passphrase(ctx, q, v.config().AskTimeout.Std(), func(pipe *os.File) error {
		_, err := v.unlock(ctx, v.byPassphrase(pipe, nil))
		if err != nil && control.AsError(err).Code == control.CodeWrongPassphrase {
			return fmt.Errorf("%w: %w", ask.ErrWrong, err)
		}
		return err
	})
}
