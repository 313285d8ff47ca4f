package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// A change that the backend can't take now waits in the device state, on the
// disk before the vault file has its line. It survives lock and restart, is
// usable at once on this device, and is pushed at the next refresh that reaches
// the backend. One that meets a tombstone stays, as deleted elsewhere.

// mayWait tells whether a failed write may wait for the backend: it gave no
// answer, and the vault may be used without network at all.
func (v *Vault) mayWait(err error) bool {
	var e *opener.Error
	return errors.As(err, &e) && (e.Kind == opener.Unreachable || e.Kind == opener.SignIn) && v.keepOffline() > 0
}

// waiting returns what waits, for the keeper; with ahead also what was stopped on
// its way, or is on it, and whose lines the vault file may lack.
func (v *Vault) waiting(vaultID id.Vault, ahead bool) (w keyring.Update, lines []vaultfile.Revision, err error) {
	list, err := v.d.State.Vault(vaultID).Pending()
	if err != nil {
		return w, nil, fmt.Errorf("read changes that wait: %w", err)
	}
	for i := range list {
		p := &list[i]
		switch {
		case p.DeletedElsewhere, p.Ahead && !ahead:
		case p.Remove:
			w.Remove = append(w.Remove, p.Item)
		default:
			line, err := vaultfile.ParseLine(p.Line)
			if err != nil {
				return w, nil, fmt.Errorf("read change that waits: %w", err)
			}
			e := keyring.DEK{Item: p.Item, Revision: p.Revision, Parents: p.Parents, Line: line.Sum(), Tightens: p.Tightens, Waits: true}
			copy(e.Wrapped[:], p.Wrapped)
			w.Add = append(w.Add, e)
			if p.Ahead {
				lines = append(lines, line)
			}
		}
	}
	return w, lines, nil
}

// writePending keeps a change on this device and writes its lines to the vault
// file. Lines of removed items stay there until the backend knows of the removal.
func (v *Vault) writePending(ctx context.Context, o *openVault, w *writing) error {
	if err := v.sealOnce(ctx, o, w); err != nil {
		return err
	}
	if err := v.keepAdditions(ctx, o, w, false); err != nil {
		return err
	}
	st, now := v.d.State.Vault(o.id), time.Now()
	for _, item := range w.update.Remove {
		if err := st.AddPending(ctx, state.Pending{Item: item, Remove: true, Added: now}); err != nil {
			return fmt.Errorf("keep change of vault %q: %w", v.name, err)
		}
	}
	if len(w.lines) > 0 {
		err := durable.Update(ctx, v.config().Path, durable.Options{Keep: true}, func(old []byte) ([]byte, error) {
			f, err := vaultfile.Parse(old, o.id)
			if err != nil {
				return nil, fileError(v, err)
			}
			next := f.Add(w.lines...)
			return next.EncodeAll(), v.fits(next.Size())
		})
		if err != nil {
			return fmt.Errorf("write vault %q: %w", v.name, err)
		}
	}
	return v.reload(ctx, o, o.now().keyring)
}

// keepAdditions keeps what a write adds on this device, its lines too.
func (v *Vault) keepAdditions(ctx context.Context, o *openVault, w *writing, ahead bool) error {
	st, now := v.d.State.Vault(o.id), time.Now()
	for i := range w.update.Add {
		p := w.addition(i, now)
		p.Ahead = ahead
		if err := st.AddPending(ctx, p); err != nil {
			return fmt.Errorf("keep change of vault %q: %w", v.name, err)
		}
	}
	return nil
}

func (w *writing) addition(i int, now time.Time) state.Pending {
	e := &w.update.Add[i]
	return state.Pending{
		Item: e.Item, Revision: e.Revision, Parents: e.Parents, Tightens: e.Tightens, Wrapped: e.Wrapped[:],
		Line: w.lines[i].AppendLine(nil), Added: now,
	}
}

// ahead keeps a write on this device before it is stored, if it restricts a key's
// use: stopped between keyring and vault file, it would leave the key held for
// good, as nobody would have the line. The next refresh ends it.
func (v *Vault) ahead(ctx context.Context, o *openVault, w *writing) error {
	if w.kept || !slices.ContainsFunc(w.update.Add, func(e keyring.DEK) bool { return e.Tightens }) {
		return nil
	}
	w.kept = true
	return v.keepAdditions(ctx, o, w, true)
}

// behind forgets a write that was kept ahead, once it is done or can't have been
// stored, and returns err, which is how it ended. If it may have been stored, it is
// kept, and the error says that the next refresh makes it.
func (v *Vault) behind(ctx context.Context, o *openVault, w *writing, err error) error {
	if !w.kept {
		return err
	}
	var unanswered *unansweredError
	if errors.As(err, &unanswered) {
		e := control.AsError(err)
		return &failure{control.Errorf(e.Code, "It may have been saved. If it wasn't, the next refresh saves it: vigilctl refresh --vault "+v.name+".", "%s", e.Message), err}
	}
	st := v.d.State.Vault(o.id)
	for i := range w.update.Add {
		if err := st.DropPending(context.WithoutCancel(ctx), w.addition(i, time.Time{})); err != nil {
			v.d.Log.Warn("a change that is over can't be forgotten: the next refresh makes it", "vault", v.name, "err", err)
		}
	}
	return err
}

// pushPending stores the changes that wait for the backend, and returns how many.
func (v *Vault) pushPending(ctx context.Context, session *opener.Client, o *openVault) (pushed int, err error) {
	err = v.compete(ctx, session, o, nil, "They are tried again at the next refresh.", func() (err error) {
		pushed, err = v.pushOnce(ctx, session, o)
		return err
	})
	return pushed, err
}

func (v *Vault) pushOnce(ctx context.Context, session *opener.Client, o *openVault) (pushed int, err error) {
	w, lines, err := v.waiting(o.id, true)
	if err != nil || len(w.Add)+len(w.Remove) == 0 {
		return 0, err
	}
	next, deleted, err := v.pushDeks(ctx, session, o, w)
	if err != nil {
		return 0, err
	}
	// This device has the keyring that holds them before it forgets them:
	// whatever ends it in between, it unlocks with them, also without network.
	if err := v.writeFile(ctx, o, next, stored(lines, deleted)); err != nil {
		return 0, err
	}
	if o.noted != o.now().pins {
		return 0, nil // it couldn't be kept, as load has said: they wait on
	}
	if err := v.dropPushed(ctx, o, w, deleted); err != nil {
		return 0, err
	}
	return len(w.Add) + len(w.Remove) - len(deleted), v.reload(ctx, o, next.Keyring)
}

// stored are the lines of what was stored.
func stored(lines []vaultfile.Revision, deleted []keyring.DEK) []vaultfile.Revision {
	return slices.DeleteFunc(lines, func(line vaultfile.Revision) bool {
		return slices.ContainsFunc(deleted, func(e keyring.DEK) bool { return e.Revision == line.Revision })
	})
}

// dropPushed forgets what the backend has now, and marks what was deleted elsewhere.
func (v *Vault) dropPushed(ctx context.Context, o *openVault, w keyring.Update, deleted []keyring.DEK) error {
	st := v.d.State.Vault(o.id)
	gone := map[id.Revision]bool{}
	for _, e := range deleted {
		gone[e.Revision] = true
	}
	list, err := st.Pending()
	if err != nil {
		return err
	}
	pushed := map[id.Revision]bool{}
	for _, e := range w.Add {
		pushed[e.Revision] = true
	}
	removed := map[id.Item]bool{}
	for _, item := range w.Remove {
		removed[item] = true
	}
	for _, p := range list {
		switch {
		case gone[p.Revision]:
			p.DeletedElsewhere = true
			err = st.AddPending(ctx, p)
			v.d.Refused(control.Refusal{What: "push", Vault: v.name, Reason: fmt.Sprintf("a change of item %v waited for the backend, and the item was deleted elsewhere meanwhile", p.Item)})
		case p.Remove && removed[p.Item], !p.Remove && pushed[p.Revision]:
			err = st.DropPending(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("forget pushed change of vault %q: %w", v.name, err)
		}
	}
	return nil
}
