package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"vigil/internal/ask"
	"vigil/internal/prompt"
	"vigil/internal/sshagent"
)

// Prompter asks the person at the screen before a key is used. The zero Prompter can't.
type Prompter struct{ p *prompt.Prompter }

// NewPrompter picks a prompter from an environment in the form of os.Environ.
func NewPrompter(environ []string) Prompter { return Prompter{prompt.New(environ)} }

// Available returns nil, or why nobody can be asked.
func (p Prompter) Available() error {
	if p.p == nil {
		return prompt.ErrUnavailable
	}
	return p.p.Available()
}

// show shows a text until ctx ends, where that can be done.
func (p Prompter) show(ctx context.Context, text string) {
	if p.p != nil {
		p.p.Show(ctx, "Vigil", text)
	}
}

// askPIN asks for a PIN, which goes to w. See [prompt.Prompter.PassphraseInto].
func (p Prompter) askPIN(ctx context.Context, question string, w *os.File) error {
	if p.p == nil {
		return prompt.ErrUnavailable
	}
	return p.p.PassphraseInto(ctx, "Vigil", question, w)
}

// approver asks a person before a key is used.
type approver struct {
	d     *Daemon
	quiet ask.Quiet
}

// Confirm asks where Options.Places says or, without an asker, by Options.Prompter. See
// [sshagent.Prompter].
func (a *approver) Confirm(ctx context.Context, q sshagent.Question) (forLonger bool, err error) {
	o := &a.d.o
	if o.Asker == nil {
		if err := o.Prompter.Available(); err != nil {
			return false, err
		}
		return o.Prompter.p.Confirm(ctx, "Vigil", q.String(), q.Longer)
	}
	caller := ask.CallerOf(q.Peer.PID)
	// A host's requests don't silence the user's own. It is the first host: that one can
	// make up those behind it.
	origin := caller.Origin + " " + q.First
	if err := a.quiet.Check(origin); err != nil && !q.EachUse {
		return false, err
	}
	proved, patience := a.ofVault(q.Vault)
	place, err := o.Places.Find(ctx, o.Places.Locate(ask.Request{Caller: caller, Forwarded: q.Forwarded, Proved: proved}))
	if err == nil {
		defer place.Close()
		forLonger, err = o.Asker.Confirm(ctx, place, ask.Question{Title: "Vigil", Text: q.String(), Longer: q.Longer}, patience)
		if ctx.Err() != nil && q.Forwarded {
			a.quiet.Note(origin, ask.ErrDeclined) // or a host that hangs up could show prompts without end
		}
	}
	if errors.Is(err, ask.ErrUnavailable) {
		return false, sshagent.Advised(fmt.Sprintf("the use of the key must be allowed, and %v", err),
			"To allow it in a terminal: `vigilctl session register`, then lock and unlock the vault there. On a desktop: docs/asking.md. `vigilctl show KEY`, and `approve` in config.toml, say what is asked for.")
	}
	if !q.EachUse {
		a.quiet.Note(origin, err)
	}
	return forLonger, err
}

// ofVault returns what tells where the passphrase of a vault was typed, and how long its
// prompts wait. Without a vault, it was typed nowhere.
func (a *approver) ofVault(name string) (proved func(ask.Witness) bool, patience time.Duration) {
	v, err := a.d.find(name)
	if name == "" || err != nil {
		return func(ask.Witness) bool { return false }, sshagent.QuestionTimeout
	}
	return v.Proved, v.AskTimeout()
}

// DropAdded removes the keys that ssh-add added. It logs a failure.
func (d *Daemon) DropAdded(ctx context.Context) {
	if err := d.agent.DropAdded(ctx); err != nil {
		d.log.Error("added keys can't be dropped", "err", err)
	}
}

// originOf returns what a process belongs to, for grants.
func originOf(pid int) string { return ask.CallerOf(pid).Origin }
