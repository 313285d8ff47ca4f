package daemon

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"vigil/internal/backend"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// Verify has every layer and every item of a vault checked.
func (h *handler) Verify(ctx context.Context, _ *control.Call, req *control.VerifyRequest) (*control.VerifyReply, error) {
	return withUnlocked(ctx, h.d, req.Vault, func(ctx context.Context, v *vault, o *openVault) (*control.VerifyReply, error) {
		return v.verify(ctx, o)
	})
}

func (v *vault) verify(ctx context.Context, o *openVault) (*control.VerifyReply, error) {
	f, err := v.readFileAfter(o.file)
	if err != nil {
		return nil, err
	}
	r, err := v.measure(o, f)
	if err != nil {
		return nil, err
	}
	r.FileBytes = f.Size()
	if err := v.give(ctx, o, f); err != nil {
		return nil, err
	}
	problems, err := o.keeper.Verify(ctx)
	if err != nil {
		return nil, keeperError(v.name, err)
	}
	r.Problems = append(r.Problems, problems...)
	return r, nil
}

// measure counts what there is, and reads both keyring objects once more.
func (v *vault) measure(o *openVault, f *vaultfile.File) (*control.VerifyReply, error) {
	r := &control.VerifyReply{Vault: v.name, MembersBytes: len(o.keyring.Members), DeksBytes: len(o.keyring.Deks), Pending: o.pending}
	for i := range f.Damaged() {
		r.Problems = append(r.Problems, f.Damaged()[i].Error())
	}
	members, err := keyring.ParseMembers(o.keyring.Members, o.id)
	if err != nil {
		return nil, err
	}
	deks, err := keyring.ParseDeks(o.keyring.Deks, o.id)
	if err != nil {
		return nil, err
	}
	w, _, err := v.waiting(o.id, false)
	if err != nil {
		return nil, err
	}
	items := map[id.Item]bool{}
	view := f.See(keyring.WithPending(deks, w), nil)
	for i, state := range view.States {
		switch state {
		case vaultfile.Ready, vaultfile.Outdated:
			r.Heads++
			items[f.Revisions()[i].Item] = true
		case vaultfile.Superseded:
			r.Superseded++
		case vaultfile.WaitingForKey:
			r.WaitingForKey++
		}
	}
	r.WaitingForLine = len(view.Missing)
	r.Items, r.Deleted = len(items), len(deks.Tombstones())
	r.Identities, r.Records = len(members.Identities()), len(members.Records())
	r.Epoch, r.KEK = deks.Epoch(), members.KEK()
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	r.Generations = len(generations)
	return r, nil
}

// History lists the earlier contents of the vault file.
func (h *handler) History(_ context.Context, _ *control.Call, req *control.HistoryRequest) (*control.HistoryReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	r := &control.HistoryReply{Generations: []control.Generation{}}
	for _, g := range generations {
		shown := control.Generation{Name: g.Name, Time: g.Time, Bytes: g.Size, Items: -1}
		if f, err := v.generation(g.Name); err == nil {
			shown.Items = len(f.Revisions())
		}
		r.Generations = append(r.Generations, shown)
	}
	if req.Key == "" {
		return r, nil
	}
	_, f, err := h.d.resolve(v.name, req.Key)
	if err != nil {
		return nil, err
	}
	r.Revisions, err = v.revisions(f.item, generations)
	return r, err
}

func (v *vault) generation(name string) (*vaultfile.File, error) {
	data, err := durable.ReadGeneration(v.config().Path, name)
	if err != nil {
		return nil, err
	}
	return vaultfile.Parse(data, id.Vault{})
}

// revisions lists what there ever was of an item on this device, the newest
// generations first.
func (v *vault) revisions(item id.Item, generations []durable.Generation) (list []control.HistoryRevision, err error) {
	o, err := v.current()
	if err != nil {
		return nil, err
	}
	v.mu.Lock() // this isn't a job: one may replace the keyring meanwhile
	object := o.keyring.Deks
	v.mu.Unlock()
	deks, err := keyring.ParseDeks(object, o.id)
	if err != nil {
		return nil, err
	}
	seen := map[id.Revision]bool{}
	take := func(f *vaultfile.File, generation string) {
		for i := range f.Revisions() {
			line := &f.Revisions()[i]
			if line.Item != item || seen[line.Revision] {
				continue
			}
			seen[line.Revision] = true
			h := control.HistoryRevision{Revision: line.Revision.String(), Generation: generation}
			if e := deks.Lookup(line.Revision); e != nil {
				h.Restorable, h.Current = true, e.Superseded == 0
				if e.Superseded != 0 {
					at := time.Unix(int64(e.Superseded), 0)
					h.Superseded = &at
				}
			}
			list = append(list, h)
		}
	}
	f, err := v.readFile()
	if err != nil {
		return nil, err
	}
	take(f, "")
	for _, g := range generations {
		if old, err := v.generation(g.Name); err == nil && old.Vault() == o.id {
			take(old, g.Name)
		}
	}
	return list, nil
}

// Restore brings a superseded revision back as a new one.
func (h *handler) Restore(ctx context.Context, call *control.Call, req *control.RestoreRequest) (*control.RestoreReply, error) {
	return withKey(ctx, h.d, req.Vault, req.Key, func(ctx context.Context, v *vault, o *openVault, f *fact) (*control.RestoreReply, error) {
		return v.restore(ctx, o, f, req, asker(call))
	})
}

func (v *vault) restore(ctx context.Context, o *openVault, f *fact, req *control.RestoreRequest, ask opener.Asker) (*control.RestoreReply, error) {
	line, err := v.pastLine(o, f.item, req.Revision)
	if err != nil {
		return nil, err
	}
	seen := v.replaces(o, f.item, f.revision)
	pending, err := v.write(ctx, o, change{ask: ask, seal: func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		s, err := o.keeper.SealLine(ctx, line, seen)
		if errors.Is(err, keeper.ErrNoKey) {
			return nil, control.Errorf(control.CodeNotFound, "Superseded revisions keep their key for 30 days.", "revision %s of key %q can't be restored: its key is gone from the keyring", req.Revision, f.meta.Name)
		}
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}})
	if err != nil {
		return nil, err
	}
	key, err := v.item(o, f.item)
	return &control.RestoreReply{Saved: control.Saved{Pending: pending}, Key: key}, err
}

// pastLine finds a revision of an item, named by a prefix, in the vault file or
// its earlier contents.
func (v *vault) pastLine(o *openVault, item id.Item, prefix string) ([]byte, error) {
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	now, err := v.readFile()
	if err != nil {
		return nil, err
	}
	files := []*vaultfile.File{now}
	for _, g := range generations {
		if f, err := v.generation(g.Name); err == nil && f.Vault() == o.id {
			files = append(files, f)
		}
	}
	var found *vaultfile.Revision
	for _, f := range files {
		for i := range f.Revisions() {
			line := &f.Revisions()[i]
			if line.Item != item || len(prefix) < minIDPrefix || !strings.HasPrefix(line.Revision.String(), prefix) {
				continue
			}
			if found != nil && found.Revision != line.Revision {
				return nil, control.Errorf(control.CodeAmbiguous, "Give more of it.", "%q names several revisions", prefix)
			}
			found = line
		}
	}
	if found == nil {
		return nil, control.Errorf(control.CodeNotFound, "`vigilctl vault history KEY` lists them.", "this device has no revision %q of that key", prefix)
	}
	return found.Line(), nil
}

// KeyringRestore settles a keyring that this device refuses.
func (h *handler) KeyringRestore(ctx context.Context, call *control.Call, req *control.KeyringRestoreRequest) (*control.KeyringRestoreReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	if err := v.restoreKeyring(ctx, req, asker(call)); err != nil {
		return nil, err
	}
	if _, err := v.unlock(ctx, req.Passphrase, asker(call)); err != nil {
		return nil, err
	}
	return &control.KeyringRestoreReply{Vault: v.status(ctx)}, nil
}

// restoreKeyring puts this device's last good keyring back into the backend or,
// with Accept, forgets that there was a newer one. The vault locks: what follows
// asks for the passphrase anew.
func (v *vault) restoreKeyring(ctx context.Context, req *control.KeyringRestoreRequest, ask opener.Asker) error {
	v.lock()
	ctx, done, err := v.beginJob(ctx)
	if err != nil {
		return err
	}
	defer done()
	f, err := v.readFile()
	if err != nil {
		return err
	}
	st := v.d.state.Vault(f.Vault())
	if req.Accept {
		return st.Reset(ctx, state.Pins{})
	}
	kept, err := st.Keyring()
	if errors.Is(err, state.ErrNone) {
		return control.Errorf(control.CodeNotFound, "Take the backend's with --accept, if that's what you want.", "this device has kept no keyring of vault %q", v.name)
	}
	if err != nil {
		return err
	}
	c, err := opener.Start(ctx, v.d.o.Opener, f.Vault())
	if err != nil {
		return openerError(v.name, err)
	}
	defer c.Close()
	place := v.place(f.Vault(), id.Identity{})
	for object, data := range map[backend.Object][]byte{backend.Members: kept.Members, backend.Deks: kept.Deks} {
		if err := v.putBack(ctx, c, place, object, data, ask); err != nil {
			return err
		}
	}
	return nil
}

// putBack replaces whatever the backend has of an object.
func (v *vault) putBack(ctx context.Context, c *opener.Client, place opener.Place, object backend.Object, data []byte, ask opener.Asker) error {
	reply, err := c.Do(ctx, opener.Request{Fetch: &opener.Fetch{Place: place}}, ask)
	var have opener.Fetched
	switch {
	case errors.Is(err, &opener.Error{Kind: opener.Missing}):
	case err != nil:
		return openerError(v.name, err)
	case reply.Fetch != nil:
		have = *reply.Fetch
	}
	old, version := have.Members, have.MembersVersion
	if object == backend.Deks {
		old, version = have.Deks, have.DeksVersion
	}
	if bytes.Equal(old, data) {
		return nil
	}
	if _, err := c.Do(ctx, opener.Request{Put: &opener.Put{Place: place, Object: object, Data: data, Expect: version}}, ask); err != nil {
		return openerError(v.name, err)
	}
	v.d.log.Info("put this device's keyring back", "vault", v.name, "object", object, "bytes", len(data))
	return nil
}

// collect drops DEKs that nobody needs any more, at most once a day.
func (v *vault) collect(ctx context.Context, session *opener.Client, o *openVault) error {
	if time.Since(o.collected) < collectEvery {
		return nil
	}
	o.collected = time.Now()
	f, err := v.readFileAfter(o.file)
	if err != nil {
		return err
	}
	if err := v.give(ctx, o, f); err != nil {
		return err
	}
	object, err := o.keeper.Collect(ctx, time.Now())
	if err != nil || object == nil {
		return err
	}
	reply, err := session.Do(ctx, opener.Request{Put: &opener.Put{
		Place: v.place(o.id, o.identity), Object: backend.Deks, Data: object, Expect: o.keyring.DeksVersion,
	}}, nil)
	if errors.Is(err, &opener.Error{Kind: opener.Conflict}) {
		return nil // another day
	}
	if err != nil {
		return openerError(v.name, err)
	}
	next := o.keyring
	if reply.Put != nil {
		next.Deks, next.DeksVersion = object, reply.Put.Version
	}
	return v.reload(ctx, o, next)
}

// collectEvery is how often DEKs that may go are looked for.
const collectEvery = 24 * time.Hour
