package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

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
	err := v.desk.Ask(ctx, v.d.Places.Locate(r))
	var known *control.Error
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &known):
		return err
	case errors.Is(err, ask.ErrUnavailable):
		return control.Errorf(control.CodeLocked, next+", or have `vigilctl ask` wait for requests in a terminal. What else it takes to be asked: docs/asking.md.",
			"vault %s is locked, and %v", v.name, err)
	}
	return control.Errorf(control.CodeLocked, next, "vault %s is locked: %v", v.name, err)
}

// AskTimeout is how long a prompt about the vault waits for an answer.
func (v *Vault) AskTimeout() time.Duration { return v.config().AskTimeout.Std() }

// askPassphrase shows a prompt for the vault, and unlocks it with what is typed.
func (v *Vault) askPassphrase(ctx context.Context, r ask.Request) error {
	// What prevents an unlock is known before anyone types a passphrase.
	if _, _, err := v.readHeader(); err != nil {
		return err
	}
	if err := v.Complete(); err != nil {
		return err
	}
	place, err := v.d.Places.Find(ctx, r)
	if err != nil {
		return err
	}
	defer place.Close()
	q := ask.Question{Title: "Vigil", Text: r.Text, Memory: v.d.Keeper.Memory}
	return v.d.Asker.Passphrase(ctx, place, q, v.AskTimeout(), func(pipe *os.File) error {
		already, err := v.unlock(ctx, v.byPassphrase(pipe, nil))
		switch {
		case err != nil && control.AsError(err).Code == control.CodeWrongPassphrase:
			return fmt.Errorf("%w: %w", ask.ErrWrong, err)
		case err == nil && !already:
			v.Prove(place.Witnesses()...)
		}
		return err
	})
}

// Prove notes where the passphrase was typed that unlocked the vault, until it is locked.
func (v *Vault) Prove(at ...ask.Witness) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		return
	}
	if v.open.proved == nil {
		v.open.proved = map[ask.Witness]bool{}
	}
	for _, w := range at {
		if w != (ask.Witness{}) {
			v.open.proved[w] = true
		}
	}
}

// Proved reports whether the passphrase was typed there that unlocked the vault, which is
// unlocked since.
func (v *Vault) Proved(at ask.Witness) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.open != nil && v.open.proved[at]
}
