package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// Passphrase changes the passphrase of this device's identity.
func (v *Vault) Passphrase(ctx context.Context, ask opener.Asker, req *control.PassphraseRequest) (*control.PassphraseReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.PassphraseReply, error) { return v.changePassphrase(ctx, req, ask) })
}

func (v *Vault) changePassphrase(ctx context.Context, req *control.PassphraseRequest, ask opener.Asker) (*control.PassphraseReply, error) {
	j, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	if err := v.nothingWaits(j); err != nil {
		return nil, err
	}
	job := &opener.Rekey{
		Place: v.place(j.vault, j.identity), Passphrase: 1, NewPassphrase: 2,
		MemoryKiB: int(req.KDF.MemoryMiB) << 10, Time: int(req.KDF.Time), Lanes: int(req.KDF.Parallelism),
	}
	changed, err := v.rekey(ctx, j, job, ask, []*os.File{req.Passphrase, req.NewPassphrase})
	if err != nil {
		return nil, err
	}
	// The share has changed, so the kept one no longer opens anything. The next
	// unlock keeps the new one.
	v.forgetOffline(ctx, j.state)
	r := &control.PassphraseReply{Vault: v.name, KEK: changed.KEK}
	r.Notices = append(changeNotices(changed), dueNotice(j.vault, changed)...)
	_, lockedErr := v.current()
	wasUnlocked := lockedErr == nil
	if err := v.takeRekeyed(ctx, j, changed); err != nil {
		v.d.Log.Warn("vault locked: its keeper can't be used after the change of passphrase", "vault", v.name, "err", err)
		r.Locked, _ = v.lock()
		r.Notices = append(r.Notices, "The passphrase is changed, and the vault was locked. Unlock it with the new one.")
	}
	r.Locked = r.Locked && wasUnlocked
	return r, nil
}

// dueNotice says that the KEK known to the old passphrase is still in use: only
// owners make a new one.
func dueNotice(vault id.Vault, c *opener.Changed) []string {
	members, err := keyring.ParseMembers(c.Keyring.Members, vault)
	if err != nil || !members.RotationDue() {
		return nil
	}
	return []string{"The old passphrase, with an old copy of the keyring, still opens what is added from now on, until an owner's daemon has made a new KEK. It does so by itself."}
}

// nothingWaits returns an error while changes wait for the backend: they are sealed
// to keys that this change replaces.
func (v *Vault) nothingWaits(j passphraseJob) error {
	list, err := j.state.Pending()
	if err != nil {
		return fmt.Errorf("read changes that wait: %w", err)
	}
	if len(list) == 0 {
		return nil
	}
	return control.Errorf(control.CodeRefused, "Nothing was changed. Have them pushed first: vigilctl refresh --vault "+v.name+".",
		"%d changes of vault %q are saved on this device only, and could not be read after a change of passphrase", len(list), v.name)
}

// rekey runs the job. If the vault is unlocked, its keeper receives the new keys.
func (v *Vault) rekey(ctx context.Context, j passphraseJob, job *opener.Rekey, ask opener.Asker, files []*os.File) (*opener.Changed, error) {
	if err := v.slowDown(ctx); err != nil {
		return nil, err
	}
	o, lockedErr := v.current()
	if lockedErr != nil {
		return runPassphraseJob(ctx, v, j, "passphrase", job, ask, files...)
	}
	job.Keeper = opener.File(len(files) + 1)
	changed, err := between(ctx, v, j.vault, attachIdentity(o.keeper), files, job, j.seen, ask)
	if changed != nil {
		return changed, v.judged(ctx, "passphrase", nil) // even if the handover failed
	}
	return nil, v.judged(ctx, "passphrase", err)
}

// takeRekeyed loads the changed keyring, or says that the keeper lacks the new keys.
func (v *Vault) takeRekeyed(ctx context.Context, j passphraseJob, c *opener.Changed) error {
	if _, err := v.current(); err == nil && !c.HandedOver {
		v.d.Calls.changed(c.Calls)
		return fmt.Errorf("the keeper of vault %q was not handed the new keys", v.name)
	}
	return v.takeChanged(ctx, j, c)
}

// A job that changes who can read a vault takes the passphrase even if it is
// unlocked. An opener opens the identity with both factors, makes the change and
// stores it. The keeper only loads the result.

// passphraseJob is what such a job starts from.
type passphraseJob struct {
	vault    id.Vault
	identity id.Identity
	seen     opener.Seen
	state    *state.Vault
}

// passphraseJob reads it from the vault file and the device state.
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

// runPassphraseJob runs a job that takes passphrases, read from files. A wrong
// passphrase delays the next attempt.
func runPassphraseJob[R any](ctx context.Context, v *Vault, j passphraseJob, what string, job opener.Job[R], ask opener.Asker, files ...*os.File) (*R, error) {
	if err := v.slowDown(ctx); err != nil {
		return nil, err
	}
	c, err := v.d.Opener.Start(ctx, j.vault, files...)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	defer c.Close()
	result, err := opener.Do(ctx, c, job, j.seen, ask)
	return result, v.judged(ctx, what, err)
}

// judged records how a job that took a passphrase ended.
func (v *Vault) judged(ctx context.Context, what string, err error) error {
	v.noteAttempt(err)
	if err == nil {
		return nil
	}
	err = openerError(v.name, err)
	v.refused(ctx, control.Refusal{What: what}, err)
	return err
}

// refused completes and records the refusal of a request of vigilctl's. If the client has
// gone, that is the reason, by whatever error the job ended.
func (v *Vault) refused(ctx context.Context, r control.Refusal, err error) {
	shown := control.AsError(err)
	if errors.Is(context.Cause(ctx), control.ErrGone) {
		shown = control.AsError(control.ErrGone)
	}
	r.Vault, r.Reason, r.Next, r.UID = v.name, shown.Message, shown.Next, os.Getuid()
	v.d.Refused(r)
}

// takeChanged takes over the keyring that a job stored and read back: the keeper
// loads it or, while the vault is locked, the device state keeps it. After a failure,
// the next refresh or unlock does so.
func (v *Vault) takeChanged(ctx context.Context, j passphraseJob, c *opener.Changed) error {
	v.d.Calls.changed(c.Calls)
	if o, err := v.current(); err == nil {
		if err := v.reload(ctx, o, c.Keyring); err != nil {
			return err
		}
		if c.Keyring.MembersVersion != "" && c.Keyring.DeksVersion != "" {
			v.setProblem(nil) // the store has nothing that is still refused
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

// changeNotices returns what to tell the user about a change.
func changeNotices(c *opener.Changed) (notices []string) {
	if c.Replaced != nil {
		notices = append(notices, "What the backend had of the members was refused ("+c.Replaced.Message+"), and has been replaced.")
	}
	if c.Unfinished == nil {
		return notices
	}
	return append(notices, "It is done, but the rotation of the KEK that belongs to it stopped ("+c.Unfinished.Message+"). `vigilctl rotate` finishes it, and so does the daemon of any owner.")
}
