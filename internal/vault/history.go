package vault

import (
	"context"
	"errors"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// History lists the generations of the vault file and, if key isn't nil, the key's
// revisions.
func (v *Vault) History(key *Key) (*control.HistoryReply, error) {
	generations, err := durable.History(v.config().Path)
	if err != nil {
		return nil, err
	}
	r := &control.HistoryReply{Generations: []control.Generation{}}
	for _, g := range generations {
		shown := control.Generation{Name: g.Name, Time: g.Time, Bytes: g.Size, Items: -1}
		if f, err := v.generation(g.Name); err == nil {
			shown.Items = len(f.Lines())
		}
		r.Generations = append(r.Generations, shown)
	}
	if key == nil {
		return r, nil
	}
	r.Revisions, err = v.revisions(key.item, generations)
	return r, err
}

func (v *Vault) generation(name string) (*vaultfile.File, error) {
	data, err := durable.ReadGeneration(v.config().Path, name)
	if err != nil {
		return nil, err
	}
	return vaultfile.Parse(data, id.Vault{})
}

// revisions lists the revisions of an item that this device has ever had, newest
// generation first.
func (v *Vault) revisions(item id.Item, generations []durable.Generation) (list []control.HistoryRevision, err error) {
	o, err := v.current()
	if err != nil {
		return nil, err
	}
	deks, err := o.now().deks()
	if err != nil {
		return nil, err
	}
	seen := map[id.Revision]bool{}
	take := func(f *vaultfile.File, generation string) {
		for i := range f.Lines() {
			line := &f.Lines()[i]
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

// Restore makes a new revision from a superseded one.
func (v *Vault) Restore(ctx context.Context, ask opener.Asker, key *Key, req *control.RestoreRequest) (*control.RestoreReply, error) {
	return unlocked(ctx, v, func(ctx context.Context, o *openVault) (*control.RestoreReply, error) {
		return v.restore(ctx, o, key, req, ask)
	})
}

func (v *Vault) restore(ctx context.Context, o *openVault, k *Key, req *control.RestoreRequest, ask opener.Asker) (*control.RestoreReply, error) {
	line, err := v.pastLine(o, k.item, req.Revision)
	if err != nil {
		return nil, err
	}
	q := keeper.Repeat(line, o.now().replaces(k.item, k.revision))
	seal := func(ctx context.Context, o *openVault) ([]keeper.Sealed, error) {
		s, err := o.keeper.SealLine(ctx, q)
		if errors.Is(err, keeper.ErrNoKey) {
			return nil, control.Errorf(control.CodeNotFound, "`vigilctl vault history "+k.meta.Name+"` shows which can be: superseded revisions keep their key for 30 days.", "revision %s of key %q can't be restored: its key is gone from the keyring", req.Revision, k.meta.Name)
		}
		if err != nil {
			return nil, keeperError(v.name, err)
		}
		return []keeper.Sealed{s}, nil
	}
	pending, err := v.withConsent(ctx, o, ask, control.Refusal{What: "restore", Key: k.meta.Name}, req.Consent, q.Change(), func(consent []byte) (bool, error) {
		q.Consent = consent
		return v.write(ctx, o, change{ask: ask, seal: seal})
	})
	if err != nil {
		return nil, err
	}
	key, err := v.saved(o, k.item)
	return &control.RestoreReply{Saved: control.Saved{Pending: pending}, Key: key}, err
}

// pastLine returns the line of an item's revision, given by a prefix of its id, from
// the vault file or its history.
func (v *Vault) pastLine(o *openVault, item id.Item, prefix string) ([]byte, error) {
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
	var found *vaultfile.Line
	for _, f := range files {
		for i := range f.Lines() {
			line := &f.Lines()[i]
			if line.Item != item || len(prefix) < MinIDPrefix || !strings.HasPrefix(line.Revision.String(), prefix) {
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
	return found.Text(), nil
}
