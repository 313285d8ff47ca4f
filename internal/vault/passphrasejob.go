package vault

import (
	"context"
	"errors"
	"os"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// A job that widens or changes who can read a vault takes the passphrase again,
// unlocked or not: an opener opens the identity with both factors, makes the
// change and stores it. The keeper has no part in it and reads the result.

// passphraseJob is a vault as such a job finds it.
type passphraseJob struct {
	vault    id.Vault
	identity id.Identity
	seen     opener.Seen
	state    *state.Vault
}

// passphraseJob reads what this device knows of the vault.
func (v *Vault) passphraseJob() (j passphraseJob, err error) {
	f, err := v.readFile()
	if err != nil {
		return j, err
	}
	j.vault, j.state = f.Vault(), v.d.State.Vault(f.Vault())
	if j.seen, err = v.seen(j.state); err != nil {
		return j, err
	}
	j.identity, err = v.identityOf(j.state)
	return j, err
}

// runPassphraseJob runs such a job: request's files are the passphrases. A wrong one
// slows down the next.
func (v *Vault) runPassphraseJob(ctx context.Context, j passphraseJob, what string, req opener.Request, ask opener.Asker, files ...*os.File) (opener.Reply, error) {
	if err := v.slowDown(ctx); err != nil {
		return opener.Reply{}, err
	}
	c, err := opener.Start(ctx, v.d.Opener, j.vault, files...)
	if err != nil {
		return opener.Reply{}, openerError(v.name, err)
	}
	defer c.Close()
	req.Seen = &j.seen
	reply, err := c.Do(ctx, req, ask)
	return reply, v.judged(what, err)
}

// judged notes how a job that took a passphrase ended.
func (v *Vault) judged(what string, err error) error {
	v.noteAttempt(err)
	if err == nil {
		return nil
	}
	err = openerError(v.name, err)
	v.d.Refused(control.Refusal{What: what, Vault: v.name, Reason: err.Error(), Next: control.AsError(err).Next, UID: os.Getuid()})
	return err
}

// takeChanged goes on with the keyring that a job stored: the keeper gets it, or
// while the vault is locked the device state does. It is what the job has read
// back; that it can't be taken now is for the next refresh or unlock.
func (v *Vault) takeChanged(ctx context.Context, j passphraseJob, c *opener.Changed) error {
	if c == nil {
		return errors.New("the opener gave no answer")
	}
	v.d.Calls.changed(c.Calls)
	if o, err := v.current(); err == nil {
		if err := v.reload(ctx, o, c.Keyring); err != nil {
			return err
		}
		if c.Keyring.MembersVersion != "" && c.Keyring.DeksVersion != "" {
			v.setProblem(nil) // nothing that the store has is refused any more
		}
		return nil
	}
	members, err := keyring.ParseMembers(c.Keyring.Members, j.vault)
	if err != nil {
		return err
	}
	deks, err := keyring.ParseDeks(c.Keyring.Deks, j.vault)
	if err != nil {
		return err
	}
	err = j.state.SetKeyring(ctx, c.Keyring, time.Now())
	if err != nil {
		return err
	}
	return j.state.Advance(ctx, keyring.Pins{Members: members.Pin(), Deks: deks.Pin()})
}

// changeNotices say what else there is to know of a change.
func changeNotices(c *opener.Changed) (notices []string) {
	if c.Replaced != nil {
		notices = append(notices, "What the backend had of the members was refused ("+c.Replaced.Message+"), and has been replaced.")
	}
	if c.Unfinished == nil {
		return notices
	}
	return append(notices, "It is done, but the rotation of the KEK that belongs to it stopped ("+c.Unfinished.Message+"). `vigilctl rotate` finishes it, and so does the daemon of any owner.")
}
