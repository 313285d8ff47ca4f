package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"vigil/internal/securitykey"
)

// securityKeys has security keys sign, and shows whose touch is waited for.
type securityKeys struct {
	helper   *securitykey.Helper
	prompter Prompter
	provider string // where none was named
	allowed  string // which ones ssh-add may name

	waiting atomic.Pointer[string] // what is shown; nil: nobody's touch is waited for
}

// Provider returns the provider to sign with. See [sshagent.SecurityKeys].
func (k *securityKeys) Provider(named string, remote bool) (string, error) {
	if named == "" {
		return securitykey.Provider(k.provider, securitykey.DefaultProviders, false)
	}
	return securitykey.Provider(named, k.allowed, remote)
}

// Run waits for a touch. See [sshagent.SecurityKeys].
func (k *securityKeys) Run(ctx context.Context, text string, use func(helper *os.File) error) error {
	return k.helper.Run(ctx, func(helper *os.File) error {
		ctx, done := context.WithCancel(ctx)
		var shown sync.WaitGroup
		shown.Go(func() { k.prompter.show(ctx, text) })
		defer shown.Wait()
		defer done()
		k.waiting.Store(&text)
		defer k.waiting.Store(nil)
		return use(helper)
	})
}

// RunWithPIN asks for the PIN and waits for a touch. See [sshagent.SecurityKeys].
func (k *securityKeys) RunWithPIN(ctx context.Context, question string, use func(helper, pin *os.File) error) error {
	return k.helper.Run(ctx, func(helper *os.File) error {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
		defer r.Close()
		ctx, done := context.WithCancel(ctx)
		defer done()
		k.waiting.Store(&question)
		defer k.waiting.Store(nil)
		asked := make(chan error, 1)
		go func() {
			err := k.prompter.askPIN(ctx, question, w)
			if err != nil { // what was typed before it was declined must not reach the device
				securitykey.End(helper)
			}
			_ = w.Close() // only now the keeper has all of it
			asked <- err
		}()
		used := use(helper, r)
		done() // ends a question that is still shown
		if err := <-asked; used != nil && err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("ask for the security key's PIN: %w", err)
		}
		return used
	})
}

// touch returns what the touch is for that is waited for, on one line, or "".
func (k *securityKeys) touch() string {
	if text := k.waiting.Load(); text != nil {
		return strings.ReplaceAll(*text, "\n", " ")
	}
	return ""
}

// Next returns what to do about an error. See [sshagent.SecurityKeys].
func (k *securityKeys) Next(err error) string { return securitykey.Next(err) }
