package daemon

import (
	"context"
	"os"

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

// Confirm asks. See [sshagent.Prompter].
func (p Prompter) Confirm(ctx context.Context, q sshagent.Question) error {
	if err := p.Available(); err != nil {
		return err
	}
	return p.p.Confirm(ctx, "Vigil", q.String())
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

// DropAdded removes the keys that ssh-add added. It logs a failure.
func (d *Daemon) DropAdded(ctx context.Context) {
	if err := d.agent.DropAdded(ctx); err != nil {
		d.log.Error("added keys can't be dropped", "err", err)
	}
}
