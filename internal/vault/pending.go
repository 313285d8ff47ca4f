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

// While the backend is unreachable, a change is kept in the device state, written
// before the vault file has its line. It survives lock and restart, is usable at once
// on this device, and is pushed by the next refresh that reaches the backend. If its
// item has a tombstone by then, it is kept, marked as deleted elsewhere.

// mayWait reports whether a failed write may wait: the backend gave no answer, and
// the vault may be used without network.
func (v *Vault) mayWait(err error) bool {
	var e *opener.Error
	return errors.As(err, &e) && (e.Kind == opener.Unreachable || e.Kind == opener.SignIn) && v.keepOffline() > 0
}

// waiting returns the waiting changes for the keeper. With ahead, they include writes
// kept ahead of being stored; lines are theirs, which the vault file may lack.
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
			w.Remove, w.Consents = append(w.Remove, p.Item), append(w.Consents, p.Consent)
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

// writePending keeps a change on this device and writes its lines to the vault file.
// Lines of removed items stay there until the backend has the removal.
func (v *Vault) writePending(ctx context.Context, o *openVault, w *writing) error {
	if err := v.sealOnce(ctx, o, w); err != nil {
		return err
	}
	if err := v.keepAdditions(ctx, o, w, false); err != nil {
		return err
	}
	st, now := v.d.State.Vault(o.id), time.Now()
	for i, item := range w.update.Remove {
		if err := st.AddPending(ctx, state.Pending{Item: item, Remove: true, Consent: w.update.Consents[i], Added: now}); err != nil {
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

// keepAdditions keeps a write's additions on this device, with their lines.
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
		Line: w.lines[i].Text(), Added: now,
	}
}

// ahead keeps a write that restricts a key's use before it is stored. A crash between
// keyring and vault file would otherwise lose the line and leave the key held
// forever. The next refresh completes the write.
func (v *Vault) ahead(ctx context.Context, o *openVault, w *writing) error {
	if w.kept || !slices.ContainsFunc(w.update.Add, func(e keyring.DEK) bool { return e.Tightens }) {
		return nil
	}
	w.kept = true
	return v.keepAdditions(ctx, o, w, true)
}

// behind drops a write kept ahead once it is complete or can't have been stored, and
// returns err. If it may have been stored, behind keeps it, and the error says that
// the next refresh stores it.
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

// pushPending stores the waiting changes in the backend, and returns their number.
func (v *Vault) pushPending(ctx context.Context, session *opener.Client, o *openVault) (pushed int, err error) {
	err = v.retrySwap(ctx, session, o, nil, "They are tried again at the next refresh.", func() (err error) {
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
	// Keep the new keyring before dropping the changes: if the daemon ends in
	// between, the device can still unlock with them, also without network.
	if err := v.writeFile(ctx, o, next, stored(lines, deleted)); err != nil {
		return 0, err
	}
	if o.noted != o.now().pins {
		return 0, nil // they couldn't be kept, as load has logged: they keep waiting
	}
	if err := v.dropPushed(ctx, o, w, deleted); err != nil {
		return 0, err
	}
	return len(w.Add) + len(w.Remove) - len(deleted), v.reload(ctx, o, next.Keyring)
}

// stored returns lines without those in deleted.
func stored(lines []vaultfile.Revision, deleted []keyring.DEK) []vaultfile.Revision {
	return slices.DeleteFunc(lines, func(line vaultfile.Revision) bool {
		return slices.ContainsFunc(deleted, func(e keyring.DEK) bool { return e.Revision == line.Revision })
	})
}

// dropPushed drops the changes that the backend has, and marks those deleted elsewhere.
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
