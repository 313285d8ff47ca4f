package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/durable"
)

func (a *app) upCommand() *cobra.Command {
	u := &up{app: a, pass: vaultPassphrase(), said: map[string]bool{}}
	cmd := &cobra.Command{
		Use:     "up [--import all|none|PATH]... [--passphrase-file FILE]",
		Aliases: []string{"start"},
		Short:   "Set up on the first run; start the daemon and unlock",
		Long: `Make Vigil ready to use. The first run makes a vault, asks for its passphrase
twice, and offers to import the keys found in ~/.ssh, or makes an Ed25519 key. Later
runs start the daemon and unlock the vault, unless both are done already. A daemon of
another build is restarted, which locks the vaults.

Only the line that sets SSH_AUTH_SOCK goes to standard output, so that
eval "$(vigilctl up)" works. Nothing in ~/.ssh is ever changed. If interrupted, run it
again to continue. "--import all" names what it left out and why, and succeeds; a PATH
that can't be imported is a failure.

Without a terminal, give --passphrase-file. Then a key is made, and none is imported
unless --import says so.`,
		Example: `  eval "$(vigilctl up)"
  vigilctl up --passphrase-file vault.pass --import ~/.ssh/id_ed25519`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	cmd.Flags().StringArrayVar(&u.imports, "import", nil, "what to import: \"all\" of ~/.ssh, \"none\", or a file's `PATH`; may be repeated")
	u.pass.flags(cmd)
	u.pass.suggestFlag(cmd)
	vaultFlag(cmd, &u.vault, "the default one")
	return cmd
}

// up is one run of `vigilctl up`.
type up struct {
	*app
	vault   string
	imports []string
	pass    *source
	changed bool // the vault was made, unlocked or given keys
	result  upResult
	said    map[string]bool // the advice given, which isn't repeated for each key
}

// upResult is what `up --json` prints.
type upResult struct {
	Vault     control.VaultStatus `json:"vault"`
	Env       map[string]string   `json:"env"`
	Started   bool                `json:"started"` // the daemon
	Created   bool                `json:"created"` // the vault
	Imported  []control.Key       `json:"imported,omitempty"`
	Generated *control.Key        `json:"generated,omitempty"`
	Failed    []failedImport      `json:"failed,omitempty"`
	LeftOut   []failedImport      `json:"left_out,omitempty"`        // of "all": not asked for by name
	Plaintext []string            `json:"plaintext_files,omitempty"` // private keys without a passphrase that stay in ~/.ssh
}

// failedImport is a key file that wasn't imported, and why.
type failedImport struct {
	Path  string         `json:"path"`
	Error *control.Error `json:"error"`
}

func (u *up) run(ctx context.Context) error {
	if err := u.check(); err != nil {
		return err
	}
	v, err := u.daemon(ctx)
	if err == nil && v.State != control.VaultUnlocked {
		v, err = u.openAlone(ctx)
	}
	if err != nil {
		return err
	}
	u.started = false // it serves from here on, whatever else fails
	failed := u.keys(ctx, v)
	if codeOf(failed) == control.CodeInterrupted {
		return failed // the next run continues from here
	}
	// The vault is unlocked even if imports failed, so print the shell's line.
	if err := u.finish(ctx, v); err != nil {
		return err
	}
	return failed
}

// check refuses a command line that can't work before anything is changed.
func (u *up) check() error {
	for _, what := range u.imports {
		if what == "all" || what == "none" {
			if len(u.imports) > 1 {
				return control.Errorf(control.CodeUsage, "", "--import %s can't be combined with another --import", what)
			}
			continue
		}
		if _, err := os.Stat(what); err != nil {
			return control.Errorf(control.CodeUsage, "", "--import: %v", err)
		}
	}
	return nil
}

// daemon ensures that a daemon of this build runs, and returns the vault's status.
func (u *up) daemon(ctx context.Context) (*control.VaultStatus, error) {
	c, err := u.dial(ctx)
	var e *control.Error
	switch {
	case err == nil && c.SameBuild():
		defer c.Close()
		st, err := control.Do(ctx, c, &control.StatusRequest{})
		if err != nil {
			return nil, err
		}
		return u.pickVault(st, u.vault), nil
	case err == nil:
		c.Close()
	case !errors.As(err, &e) || e.Code != control.CodeNoDaemon:
		return nil, err
	}
	// A restart locks the vault, so check first that it can be unlocked.
	if err := u.canAsk(u.pass); err != nil {
		return nil, err
	}
	if c != nil {
		if err := u.comesBack(ctx); err != nil {
			return nil, err
		}
		u.say("Restarting vigild, which is of another build. This locks the vaults.")
		if _, err := u.stop(ctx); err != nil && codeOf(err) != control.CodeNoDaemon {
			return nil, err
		}
	}
	if err := u.startDaemon(ctx); err != nil {
		return nil, err
	}
	u.result.Started = true
	return u.vaultStatus(ctx, u.vault)
}

// canAsk returns an error if there is no way to get a passphrase.
func (a *app) canAsk(pass *source) error {
	if pass.given() {
		f, err := pass.open(a)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if !a.hasTerminal() {
		return noTerminal(pass)
	}
	return nil
}

// openAlone opens the vault while no other `up` does.
func (u *up) openAlone(ctx context.Context) (*control.VaultStatus, error) {
	if err := u.canAsk(u.pass); err != nil {
		return nil, err
	}
	release, err := u.alone(ctx)
	if err != nil {
		u.started = false // the terminal that asks uses the daemon
		return nil, err
	}
	defer release()
	// That terminal may have unlocked the vault, or stopped a daemon that it had started.
	v, err := u.daemon(ctx)
	if err == nil && v.State != control.VaultUnlocked {
		v, err = u.open(ctx, v)
	}
	if err != nil && u.started {
		u.undoStart(ctx) // before another terminal finds it
	}
	return v, err
}

// open makes the vault if it is missing, and unlocks it if it is locked.
func (u *up) open(ctx context.Context, v *control.VaultStatus) (*control.VaultStatus, error) {
	u.changed = true
	if v.State == control.VaultMissing {
		return u.create(ctx, v)
	}
	reply, err := u.unlock(ctx, v, u.pass)
	if err != nil {
		return nil, err
	}
	u.notices(reply.Notices)
	return &reply.Vault, nil
}

// alone waits until no other `up` asks for a passphrase: several terminals that open at
// once, as in a session that is restored, ask once. The caller calls release.
func (u *up) alone(ctx context.Context) (release func(), err error) {
	if err := durable.MkdirAll(u.paths.State, 0o700); err != nil {
		return nil, u.stateError(err)
	}
	path := filepath.Join(u.paths.State, "up.lock")
	if _, held := durable.Holder(path); held {
		u.say("Another terminal asks for the passphrase. Waiting for it; Ctrl-C goes on without the keys.")
	}
	lock, err := durable.AcquireLock(ctx, path)
	switch {
	case errors.Is(err, durable.ErrLocked):
		return nil, ctx.Err()
	case err != nil:
		return nil, u.stateError(err)
	}
	return func() { _ = lock.Release() }, nil
}

func (u *up) stateError(err error) error {
	return control.Errorf(control.CodeFailed, nextState, "begin the set-up: %v", err)
}

// create makes the vault. It writes the mark first, so that the next run notices if
// this one is interrupted before the vault has keys.
func (u *up) create(ctx context.Context, v *control.VaultStatus) (*control.VaultStatus, error) {
	u.say("Vigil keeps your SSH keys in an encrypted vault. This makes one, at\n  %s", v.Path)
	if err := u.mark(v.Name); err != nil {
		return nil, err
	}
	reply, err := u.initVault(ctx, control.InitRequest{Vault: v.Name, Unlock: true}, u.pass)
	if err != nil {
		return nil, err
	}
	u.result.Created = true
	u.saved(reply.Saved)
	u.say("Made vault %s. Nobody can open it without its passphrase: keep that somewhere safe.", reply.Vault.Name)
	return &reply.Vault, nil
}

// markFile returns the path of the file that exists during a vault's first run.
func (u *up) markFile(vault string) string {
	return filepath.Join(u.paths.State, "setup-"+vault)
}

func (u *up) mark(vault string) error {
	err := durable.MkdirAll(u.paths.State, 0o700)
	if err == nil {
		err = durable.Create(u.markFile(vault), []byte("`vigilctl up` has not ended its first run\n"), 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return u.stateError(err)
	}
	return nil
}

func (u *up) marked(vault string) bool {
	_, err := os.Lstat(u.markFile(vault))
	return err == nil
}

func (u *up) unmark(vault string) error {
	if err := durable.Remove(u.markFile(vault)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return control.Errorf(control.CodeFailed, "Remove it by hand.", "end the set-up: %v", err)
	}
	return nil
}

// finish prints the export line, and what to do next after a first run.
func (u *up) finish(ctx context.Context, v *control.VaultStatus) error {
	if now, err := u.vaultStatus(ctx, v.Name); err == nil {
		v = now
	}
	line, exports, err := u.exports(u.shell(), false)
	if err != nil {
		return err
	}
	u.result.Vault, u.result.Env = *v, exports
	first := u.result.Created || len(u.result.Imported) > 0 || u.result.Generated != nil
	if u.changed || len(u.result.Failed) > 0 { // in a start-up file it is silent when all is well
		u.say("Vault %s is %s, with %s.", v.Name, paintState(v.State, string(v.State)), checkup.Count(v.Keys, "key"))
	}
	u.namePlaintext(first)
	if first {
		u.say("Next:\n" +
			"  eval \"$(vigilctl env)\"     in each shell, or once in its start-up file\n" +
			"  ssh-add -l                 lists the keys\n" +
			"  vigilctl show KEY          prints the line for a server's authorized_keys\n" +
			"  vigilctl lock              locks; vigilctl up unlocks again")
		if dir := u.offPath(); dir != "" {
			u.say("vigilctl isn't on your PATH yet: it is in %s", dir)
		}
	}
	return u.print(u.result, func(w io.Writer) { verbatim(w, line) })
}

// offPath returns the folder of Vigil's programs if vigilctl is not on the PATH, as
// after a build, or "".
func (u *up) offPath() string {
	for _, dir := range filepath.SplitList(u.env("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, "vigilctl")); err == nil && info.Mode().IsRegular() {
			return ""
		}
	}
	vigild, err := u.vigild()
	if err != nil {
		return ""
	}
	return filepath.Dir(vigild)
}
