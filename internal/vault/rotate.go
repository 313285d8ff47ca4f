package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// kekBlob is the state blob that records since when this device knows the newest KEK.
const kekBlob = "kek"

// kekSeen is the content of kekBlob. Records have no time, so each device keeps its own.
type kekSeen struct {
	KEK   uint64 `json:"kek"`
	Since int64  `json:"since"` // Unix seconds
}

// Rotate replaces the KEK and, if requested, every DEK. The latter supersedes every
// revision, and asks for the passphrase again.
func (v *Vault) Rotate(ctx context.Context, ask opener.Asker, req *control.RotateRequest) (*control.RotateReply, error) {
	if req.Deks && req.Passphrase == nil {
		return nil, control.Errorf(control.CodePassphrase, "Nothing was changed. It takes the passphrase of vault "+v.name+".", "to re-encrypt every item supersedes every revision")
	}
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (r *control.RotateReply, err error) {
		if req.Deks {
			if _, err := v.consent(ctx, o, ask, control.Refusal{What: "rotate"}, req.Passphrase, id.HashOf([]byte("rotate"))); err != nil {
				return nil, err
			}
		}
		if err := v.rotate(ctx, o, ask); err != nil {
			return nil, err
		}
		r = &control.RotateReply{Vault: v.name, KEK: o.now().pins.Deks.KEK}
		if req.Deks {
			r.Renewed, r.Left, r.Pending, err = v.renewDEKs(ctx, o, ask, req.Report)
		}
		return r, err
	})
}

// rotation is what the front needs of a keyring to continue a rotation.
type rotation struct {
	members *keyring.Members
	newest  uint64 // the newest KEK
	inUse   uint64 // the KEK that wraps the DEKs
	owner   bool   // may make and retire KEKs
	writer  bool   // may wrap DEKs by the newest KEK
	opens   bool   // has opened the newest KEK
}

func (o *openVault) rotation() rotation {
	n := o.now()
	me, ok := n.members.Identity(o.identity)
	return rotation{
		members: n.members, newest: n.members.KEK(), inUse: n.pins.Deks.KEK, opens: n.opensKEK,
		owner: ok && me.Role == keyring.Owner, writer: ok && me.Role != keyring.Reader,
	}
}

// rotationLeft is left for an unlocked vault, "" for a locked one.
func (v *Vault) rotationLeft() string {
	o, err := v.current()
	if err != nil {
		return ""
	}
	r := o.rotation()
	return r.left(v.name)
}

// unfinished reports whether a rotation or membership change left steps that this
// identity can do.
func (r *rotation) unfinished() bool {
	return r.inUse < r.newest && r.writer && r.opens || len(r.members.KEKs()) > 1 && r.owner
}

// left returns what remains of a rotation for any identity, and who finishes it; ""
// if nothing does.
func (r *rotation) left(vault string) string {
	var what string
	mayDo := r.owner
	switch older := len(r.members.KEKs()) - 1; {
	case r.members.RotationDue():
		what = fmt.Sprintf("an identity was removed or changed its passphrase, and KEK %d, which it knew, isn't replaced yet", r.newest)
	case !r.opens:
		what = fmt.Sprintf("KEK %d was made, and its seal to this device's identity doesn't open: KEK %d stays in use", r.newest, r.inUse)
	case r.inUse < r.newest:
		what, mayDo = fmt.Sprintf("KEK %d was made, and the keys are still wrapped by KEK %d", r.newest, r.inUse), r.writer
	case older > 0:
		what, mayDo = fmt.Sprintf("the keys are wrapped by KEK %d, and %d older isn't retired yet", r.newest, older), r.owner
		if older > 1 {
			what = fmt.Sprintf("the keys are wrapped by KEK %d, and %d older aren't retired yet", r.newest, older)
		}
	default:
		return ""
	}
	if mayDo {
		return what + ": vigilctl rotate --vault " + vault + " finishes it, and so does this daemon after its next refreshes"
	}
	return what + ": an owner of the vault finishes it, with vigilctl rotate there, and so does the owner's daemon"
}

// rotate makes a new KEK, wraps every DEK by it and retires the older KEKs, each step
// by compare-and-swap. Every device keeps working after an interruption, and the next
// call finishes the rotation. Two devices that rotate at the same time do one
// rotation. The caller has the turn.
func (v *Vault) rotate(ctx context.Context, o *openVault, ask opener.Asker) error {
	session, err := v.d.Opener.Start(ctx, o.id)
	if err != nil {
		return openerError(v.name, err)
	}
	defer session.Close()
	if err := v.catchUp(ctx, session, o, ask); err != nil {
		return err
	}
	before := o.rotation()
	if !before.writer {
		return keeperError(v.name, keeper.ErrReader)
	}
	if before.inUse == before.newest || !before.opens || before.members.RotationDue() {
		if !before.owner {
			return control.Errorf(control.CodeRefused, "An owner of the vault can do it.", "this device's identity isn't an owner of vault %q, and only owners make a new KEK", v.name)
		}
		err := v.step(ctx, session, o, keeper.StepNewKEK, func(now rotation) bool { return now.newest == before.newest })
		if err != nil {
			return err
		}
	}
	return v.finishRotation(ctx, session, o)
}

// finishRotation does the steps after the new KEK was made.
func (v *Vault) finishRotation(ctx context.Context, session *opener.Client, o *openVault) error {
	if err := v.step(ctx, session, o, keeper.StepRewrap, func(now rotation) bool { return now.writer && now.opens }); err != nil {
		return err
	}
	return v.step(ctx, session, o, keeper.StepRetire, func(now rotation) bool { return now.owner })
}

// step does one write of a rotation. While due holds, it retries on top of others' writes.
func (v *Vault) step(ctx context.Context, session *opener.Client, o *openVault, step keeper.RotationStep, due func(rotation) bool) error {
	return v.retrySwap(ctx, session, o, nil, "Try again: it continues where it stopped.", func() error {
		if !due(o.rotation()) {
			return nil
		}
		object, err := o.keeper.Rotation(ctx, step)
		if err != nil {
			return keeperError(v.name, err)
		}
		if object == nil {
			return nil
		}
		next, err := v.putStep(ctx, session, o, step, object)
		if err != nil {
			return openerError(v.name, err)
		}
		return v.reload(ctx, o, next)
	})
}

// putStep stores data and returns the keyring with it.
func (v *Vault) putStep(ctx context.Context, session *opener.Client, o *openVault, step keeper.RotationStep, data []byte) (next backend.Keyring, err error) {
	next = o.now().keyring
	put := &opener.Put{Place: v.place(o.id, o.identity), Object: backend.Members, Data: data, Expect: next.MembersVersion}
	if step == keeper.StepRewrap {
		put.Object, put.Expect = backend.Deks, next.DeksVersion
	}
	stored, err := opener.Do(ctx, session, put, opener.Seen{}, nil)
	if err != nil {
		return next, err
	}
	if step == keeper.StepRewrap {
		next.Deks, next.DeksVersion = data, stored.Version
	} else {
		next.Members, next.MembersVersion = data, stored.Version
	}
	return next, nil
}

// renewDEKs makes a new revision of every head of every item, each under a new DEK,
// in one write. left names the unreadable ones; report learns how many are done.
func (v *Vault) renewDEKs(ctx context.Context, o *openVault, ask opener.Asker, report func(done, total int)) (renewed int, left []string, pending bool, err error) {
	seal := func(ctx context.Context, o *openVault) (list []keeper.Sealed, err error) {
		left = nil
		for i, k := range o.now().keys {
			report(i, len(o.now().keys))
			if k.number == 0 || len(k.meta.Public) == 0 {
				left = append(left, k.item.String())
				continue
			}
			meta, err := k.meta.Encode()
			if err != nil {
				return nil, err
			}
			s, err := o.keeper.SealEdited(ctx, keeper.Edit(k.revision, k.item, []id.Revision{k.revision}, meta))
			if err != nil {
				return nil, keeperError(v.name, err)
			}
			list = append(list, s)
		}
		renewed = len(list)
		return list, nil
	}
	if len(o.now().keys) == 0 {
		return 0, nil, false, nil
	}
	pending, err = v.write(ctx, o, change{ask: ask, seal: seal})
	return renewed, left, pending, err
}

// rotateUnattended runs after a refresh. It finishes a rotation that two refreshes found
// unfinished (another device may be in the middle of it), and starts one when the KEK
// is older than configured. No client waits for it.
func (v *Vault) rotateUnattended(ctx context.Context, o *openVault) {
	now := o.rotation()
	waited := v.unfinishedKEK == now.newest
	v.unfinishedKEK = 0
	if now.unfinished() {
		v.unfinishedKEK = now.newest
	}
	due := v.rotationDue(ctx, o, now.newest) || now.members.RotationDue()
	due = due && now.owner
	if !due && !(now.unfinished() && waited) {
		return
	}
	began := now.inUse
	if err := v.rotateOrFinish(ctx, o, due); err != nil {
		v.d.Log.Warn("KEK can't be rotated; the next refresh tries again", "vault", v.name, "err", err)
		return
	}
	v.d.Log.Info("KEK rotated", "vault", v.name, "from", began, "to", o.now().pins.Deks.KEK)
}

func (v *Vault) rotateOrFinish(ctx context.Context, o *openVault, due bool) error {
	if due {
		return v.rotate(ctx, o, nil)
	}
	session, err := v.d.Opener.Start(ctx, o.id)
	if err != nil {
		return openerError(v.name, err)
	}
	defer session.Close()
	return v.finishRotation(ctx, session, o)
}

// rotationDue reports whether this device has known the newest KEK for its whole
// configured lifetime.
func (v *Vault) rotationDue(ctx context.Context, o *openVault, newest uint64) bool {
	st, now := v.d.State.Vault(o.id), time.Now().Unix()
	var seen kekSeen
	blob, err := st.Blob(kekBlob)
	if err == nil {
		err = json.Unmarshal(blob, &seen)
	}
	if err != nil && !errors.Is(err, state.ErrNone) {
		v.d.Log.Warn("age of the KEK can't be read; it counts from now", "vault", v.name, "err", err)
	}
	if err != nil || seen.KEK != newest {
		if blob, err = json.Marshal(kekSeen{KEK: newest, Since: now}); err == nil {
			v.keepBlob(ctx, st, kekBlob, blob)
		}
		return false
	}
	every := int64(time.Duration(v.config().Rotate) / time.Second)
	return every > 0 && now-seen.Since >= every
}
