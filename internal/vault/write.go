package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// change is one write: revisions to add and items to remove.
type change struct {
	// seal makes the new revisions, once, with the newest keyring.
	seal   func(ctx context.Context, o *openVault) ([]keeper.Sealed, error)
	remove keyring.Update // items to remove
	ask    opener.Asker   // for an MFA code; nil: no client waits
	// early was started by the caller, who ends it; nil: none.
	early *earlyOpener
}

// write makes a change: first to deks in the backend, by compare-and-swap, then to
// the vault file, so that every line has a key. The change is durable if err is nil.
// While the backend is unreachable, the change waits on this device, and pending is
// true. The caller has the turn.
func (v *Vault) write(ctx context.Context, o *openVault, c change) (pending bool, err error) {
	if c.early == nil {
		c.early = v.startEarly(ctx, o)
		defer c.early.end()
	}
	session, err := c.early.client()
	if err != nil {
		return false, openerError(v.name, err)
	}
	w := &writing{change: c, update: c.remove}
	next, err := v.store(ctx, session, o, w)
	if err != nil && v.mayWait(err) {
		return true, v.writePending(ctx, o, w)
	}
	if err == nil {
		if err = v.writeFile(ctx, o, next, w.lines); err != nil {
			return false, err // it is stored; its copy kept ahead completes the file
		}
	}
	return false, v.behind(ctx, o, w, err)
}

// store stores the manifest with a change, and returns the keyring with it.
func (v *Vault) store(ctx context.Context, session *opener.Client, o *openVault, w *writing) (next storedKeyring, err error) {
	if err := v.catchUp(ctx, session, o, w.ask); err != nil {
		return next, err
	}
	err = v.retrySwap(ctx, session, o, w.ask, "Try again. Nothing was changed.", func() (err error) {
		next, err = v.writeOnce(ctx, session, o, w)
		return err
	})
	return next, err
}

// retrySwap stores an object of the keyring by compare-and-swap: try makes it from the
// newest keyring and runs again after another writer's change. next is what the user
// is told after too many races.
func (v *Vault) retrySwap(ctx context.Context, session *opener.Client, o *openVault, ask opener.Asker, next string, try func() error) error {
	err := backend.RetrySwap(try, func() error { return v.catchUp(ctx, session, o, ask) })
	if errors.Is(err, backend.ErrRaces) {
		return control.Errorf(control.CodeUnreachable, next, "vault %q: %v", v.name, err)
	}
	return err
}

// writing is a change in progress. Its revisions are sealed once, and wrapped by
// whichever KEK is the newest when they are stored.
type writing struct {
	change
	update keyring.Update
	lines  []vaultfile.Revision
	kept   bool // on this device, ahead of being stored
}

// sealOnce makes the new revisions, unless it has.
func (v *Vault) sealOnce(ctx context.Context, o *openVault, w *writing) (err error) {
	if w.seal == nil || w.update.Add != nil {
		return nil
	}
	w.lines, w.update.Add, err = sealed(w.seal(ctx, o))
	return err
}

// writeOnce tries once to store the manifest with the change.
func (v *Vault) writeOnce(ctx context.Context, session *opener.Client, o *openVault, w *writing) (next storedKeyring, err error) {
	if err := v.sealOnce(ctx, o, w); err != nil {
		return next, err
	}
	if err := v.fits(o.now().file.Size() + vaultfile.New(o.id).Add(w.lines...).Size()); err != nil {
		return next, err
	}
	if err := v.ahead(ctx, o, w); err != nil {
		return next, err
	}
	next, deleted, err := v.pushDeks(ctx, session, o, w.update)
	if err == nil && len(deleted) > 0 {
		return next, control.Errorf(control.CodeRefused, "Add it as a new key.", "vault %q: the key was deleted elsewhere meanwhile", v.name)
	}
	return next, err
}

func sealed(list []keeper.Sealed, err error) (lines []vaultfile.Revision, deks []keyring.DEK, _ error) {
	if err != nil {
		return nil, nil, err
	}
	for i := range list {
		line, err := vaultfile.ParseLine(list[i].Line)
		if err != nil {
			return nil, nil, fmt.Errorf("read sealed item: %w", err)
		}
		lines, deks = append(lines, line), append(deks, list[i].DEK)
	}
	return lines, deks, nil
}

// catchUp fetches the keyring and, if it is newer, gives it to the keeper. It opens
// the vault file before the fetch and ignores later replacements, so that the keyring
// has the key of every line.
func (v *Vault) catchUp(ctx context.Context, session *opener.Client, o *openVault, ask opener.Asker) error {
	had := o.now()
	before, fileErr := durable.OpenRegular(v.config().Path)
	if fileErr == nil {
		defer before.Close()
	}
	fetched, err := opener.Do(ctx, session, &opener.Fetch{
		Place: v.place(o.id, o.identity), HaveMembers: had.keyring.MembersVersion, HaveDeks: had.keyring.DeksVersion,
	}, opener.Seen{}, ask)
	if err != nil {
		return openerError(v.name, err)
	}
	if fetched.Members == nil && fetched.Deks == nil {
		return nil
	}
	newest := had.keyring
	if fetched.Members != nil {
		newest.Members, newest.MembersVersion = fetched.Members, fetched.MembersVersion
	}
	if fetched.Deks != nil {
		newest.Deks, newest.DeksVersion = fetched.Deks, fetched.DeksVersion
	}
	// A broken file must not keep out a newer keyring: f is nil then.
	f, fileErr := v.readOpened(before, fileErr)
	return errors.Join(v.reloadWith(ctx, o, newest, f), fileErr)
}

// reload gives the keyring and the current vault file to the keeper, and lists what
// they hold.
func (v *Vault) reload(ctx context.Context, o *openVault, keyring backend.Keyring) error {
	f, err := v.readFile()
	if err != nil {
		return err
	}
	return v.reloadWith(ctx, o, keyring, f)
}

// reloadWith is reload for the vault file f, or for the one that the keeper has if f is nil.
func (v *Vault) reloadWith(ctx context.Context, o *openVault, keyring backend.Keyring, f *vaultfile.File) error {
	err := v.load(ctx, o, keyring, f)
	v.show(o) // what the keeper has loaded is usable even if this device can't record it
	return err
}

// unansweredError wraps the error of a write that may have been stored.
type unansweredError struct{ error }

func (e *unansweredError) Unwrap() error { return e.error }

// storedKeyring is a keyring whose manifest was just stored.
type storedKeyring struct {
	backend.Keyring
	manifest *keyring.Deks
}

// pushDeks stores the manifest with the update, and returns the new keyring. It
// returns additions to items removed elsewhere as deleted instead of making them. The
// error is an *unansweredError if the manifest may have been stored nevertheless.
func (v *Vault) pushDeks(ctx context.Context, session *opener.Client, o *openVault, u keyring.Update) (next storedKeyring, deleted []keyring.DEK, err error) {
	next.Keyring = o.now().keyring
	object, deleted, err := o.keeper.Deks(ctx, u, time.Now())
	if err != nil {
		return next, nil, keeperError(v.name, err)
	}
	var reading sync.WaitGroup // while the object is being stored
	var readErr error
	reading.Go(func() { next.manifest, readErr = keyring.ParseDeks(object, o.id) })
	stored, err := opener.Do(ctx, session, &opener.Put{
		Place: v.place(o.id, o.identity), Object: backend.Deks, Data: object, Expect: next.DeksVersion,
		DropPrevious: len(u.Remove) > 0,
	}, opener.Seen{}, nil)
	reading.Wait()
	if err != nil {
		var e *opener.Error
		unanswered := !errors.As(err, &e) || e.Kind == opener.Unreachable || e.Kind == opener.SignIn
		if err = openerError(v.name, err); unanswered {
			err = &unansweredError{err}
		}
		return next, nil, err
	}
	if readErr != nil {
		return next, nil, fmt.Errorf("read new keyring: %w", readErr)
	}
	next.Deks, next.DeksVersion = object, stored.Version
	return next, deleted, nil
}

// writeFile adds lines to the current vault file, and drops superseded and deleted
// ones. Unreadable lines stay unchanged.
func (v *Vault) writeFile(ctx context.Context, o *openVault, next storedKeyring, lines []vaultfile.Revision) error {
	fresh := make(map[id.Revision]bool, len(lines))
	for i := range lines {
		fresh[lines[i].Revision] = true
	}
	had := o.now()
	opens := func(l *vaultfile.Line) bool {
		k := had.byRevision[l.Revision]
		return fresh[l.Revision] || k != nil && k.reported == ""
	}
	// While the file is flushed, the keeper loads its new content and this device keeps
	// the keyring (if that fails, remember retries). Nothing new is listed before.
	var meanwhile sync.WaitGroup
	var ready *snapshot
	var loadErr error
	err := durable.Update(ctx, v.config().Path, durable.Options{Keep: true}, func(old []byte) ([]byte, error) {
		f, err := vaultfile.Parse(old, o.id)
		if err != nil {
			return nil, fileError(v, err)
		}
		file := f.Add(lines...).Prune(next.manifest, opens)
		if err := v.fits(file.Size()); err != nil {
			return nil, err
		}
		meanwhile.Go(func() { _ = v.keepKeyring(ctx, o, next.Keyring) })
		meanwhile.Go(func() { ready, loadErr = v.loadKeeper(ctx, o, next.Keyring, file) })
		return file.EncodeAll(), nil
	})
	meanwhile.Wait()
	if err != nil {
		// The manifest is stored, and the file may be in place although the last step
		// of its write failed: load what is there.
		if again := v.reload(ctx, o, next.Keyring); again != nil {
			v.d.Log.Warn("vault can't be read after a failed write", "vault", v.name, "err", again)
		}
		return fmt.Errorf("write vault %q: %w", v.name, err)
	}
	if loadErr == nil {
		loadErr = v.takeOver(ctx, o, ready)
	}
	v.show(o)
	return loadErr
}

// fits returns an error if a vault file of size bytes would be too large to read.
func (v *Vault) fits(size int) error {
	if size <= vaultfile.MaxFile {
		return nil
	}
	return control.Errorf(control.CodeRefused, "Remove keys that aren't used, or lines that aren't yours: vigilctl vault stats.",
		"the file of vault %q would have %d bytes and may have %d", v.name, size, vaultfile.MaxFile)
}

// earlyOpener is an opener that reads and writes the keyring for one change. It starts in
// the background.
type earlyOpener struct {
	started chan struct{} // closed when starting has succeeded or failed
	opener  *opener.Client
	err     error
}

// startEarly starts one. The caller calls end.
func (v *Vault) startEarly(ctx context.Context, o *openVault) *earlyOpener {
	e := &earlyOpener{started: make(chan struct{})}
	go func() {
		defer close(e.started)
		e.opener, e.err = v.d.Opener.Start(ctx, o.id)
	}()
	return e
}

// client waits until the opener has started.
func (e *earlyOpener) client() (*opener.Client, error) {
	<-e.started
	return e.opener, e.err
}

func (e *earlyOpener) end() {
	if c, err := e.client(); err == nil {
		c.Close()
	}
}
