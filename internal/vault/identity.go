package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/state"
)

// namesBlob is the state blob with this device's names of identities: the keyring has
// only ids.
const namesBlob = "identities"

// petname is what this device, but not the keyring, knows of an identity.
type petname struct {
	Name     string `json:"name,omitempty"`
	Admitted int64  `json:"admitted,omitempty"` // Unix seconds; 0: not by this device
}

// IdentityRequest creates an identity for this device, for an owner to admit.
func (v *Vault) IdentityRequest(ctx context.Context, ask opener.Asker, req *control.IdentityRequestRequest) (*control.IdentityRequestReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.IdentityRequestReply, error) {
		return v.requestIdentity(ctx, req, ask)
	})
}

func (v *Vault) requestIdentity(ctx context.Context, req *control.IdentityRequestRequest, ask opener.Asker) (*control.IdentityRequestReply, error) {
	name := pubkey.CleanComment(req.Name)
	if len(name) > keyring.MaxRequestName {
		return nil, control.Errorf(control.CodeUsage, "Choose a shorter one.", "a name has at most %d bytes", keyring.MaxRequestName)
	}
	v.configure(&control.InitRequest{Master: req.Master, Backend: req.Backend})
	j, err := v.passphraseJob()
	if e := control.AsError(err); e != nil && e.Code == control.CodeNotFound {
		return nil, control.Errorf(e.Code, "Copy or sync the vault's file to this place first.", "%s", e.Message)
	}
	if err != nil {
		return nil, err
	}
	if err := v.mayRequest(j, req.Replace); err != nil {
		return nil, err
	}
	if err := config.WriteVault(ctx, v.d.Paths, v.name, v.config().VaultConfig); err != nil {
		return nil, err
	}
	job := &opener.RequestIdentity{
		Place: v.place(j.vault, id.Identity{}), Passphrase: 1, Name: name,
		MemoryKiB: int(req.KDF.MemoryMiB) << 10, Time: int(req.KDF.Time), Lanes: int(req.KDF.Parallelism),
	}
	made, err := runPassphraseJob(ctx, v, j, "identity request", job, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	v.d.Calls.created(made.Calls)
	return v.requested(ctx, j, made, name)
}

// mayRequest returns an error if this device has an identity already.
func (v *Vault) mayRequest(j passphraseJob, replace bool) error {
	if _, err := v.current(); err == nil {
		return control.Errorf(control.CodeExists, "Lock it first if you want a new one.", "vault %q is unlocked on this device, as identity %v", v.name, j.identity)
	}
	if j.identity.IsZero() || replace {
		return nil
	}
	_, _, err := j.state.Keyring()
	if errors.Is(err, state.ErrNone) {
		return nil // requested before, but never admitted
	}
	if err != nil {
		return err
	}
	return control.Errorf(control.CodeExists, "Unlock it: vigilctl unlock --vault "+v.name+". Where it was removed, --replace makes a new one.", "this device has identity %v in vault %q", j.identity, v.name)
}

// requested records the identity that this device has requested.
func (v *Vault) requested(ctx context.Context, j passphraseJob, e *opener.RequestedIdentity, name string) (*control.IdentityRequestReply, error) {
	request, err := keyring.ParseRequest(e.Text, j.vault)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return v.d.State.Bind(ctx, v.name, j.vault) },
		func() error { return j.state.DropBlob(ctx, shareBlob) }, // of an earlier identity
		func() error { return j.state.SetBlob(ctx, identityBlob, e.Identity[:]) },
		func() error { return v.rename(ctx, j.state, e.Identity, petname{Name: name}) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &control.IdentityRequestReply{Vault: v.name, Identity: e.Identity.String(), Text: e.Text, Words: request.Words()}, nil
}

// IdentityRead parses a request and returns what it says.
func (v *Vault) IdentityRead(_ context.Context, _ opener.Asker, req *control.IdentityReadRequest) (*control.IdentityReadReply, error) {
	request, err := v.readRequest(req.Text)
	if err != nil {
		return nil, err
	}
	return &control.IdentityReadReply{
		Vault: v.name, Identity: request.Identity().String(), Name: pubkey.CleanComment(request.Name),
		Master: request.Block.Master, Words: request.Words(),
	}, nil
}

func (v *Vault) readRequest(text string) (*keyring.Request, error) {
	f, err := v.readFile()
	if err != nil {
		return nil, err
	}
	request, err := keyring.ParseRequest(text, f.Vault())
	switch {
	case keyring.StageOf(err) == keyring.StageVault:
		return nil, control.Errorf(control.CodeRefused, "Name the right vault with --vault.", "the request is for another vault than %q", v.name)
	case err != nil:
		return nil, control.Errorf(control.CodeDamaged, "Have it sent again, complete from BEGIN to END.", "%v", err)
	}
	return request, nil
}

// IdentityAdmit admits an identity.
func (v *Vault) IdentityAdmit(ctx context.Context, ask opener.Asker, req *control.IdentityAdmitRequest) (*control.IdentityAdmitReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.IdentityAdmitReply, error) { return v.admit(ctx, req, ask) })
}

func (v *Vault) admit(ctx context.Context, req *control.IdentityAdmitRequest, ask opener.Asker) (*control.IdentityAdmitReply, error) {
	role, ok := keyring.ParseRole(req.Role)
	if !ok {
		return nil, control.Errorf(control.CodeUsage, "Give owner, member or reader.", "no identity can have the role %.20q", req.Role)
	}
	request, err := v.readRequest(req.Text)
	if err != nil {
		return nil, err
	}
	if !keyring.SameWords(req.Words, request.Words()) {
		return nil, control.Errorf(control.CodeRefused, "Nothing was changed. Somebody may have put another request in its place: compare the words again.", "the words aren't those of the request")
	}
	j, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	job := &opener.Admit{Place: v.place(j.vault, j.identity), Passphrase: 1, Text: req.Text, Role: role}
	changed, err := runPassphraseJob(ctx, v, j, "identity admit", job, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	if err := v.takeChanged(ctx, j, changed); err != nil {
		return nil, err
	}
	p := petname{Name: cmp.Or(pubkey.CleanComment(req.Name), pubkey.CleanComment(request.Name)), Admitted: time.Now().Unix()}
	if err := v.rename(ctx, j.state, request.Identity(), p); err != nil {
		return nil, err
	}
	r := &control.IdentityAdmitReply{}
	r.Notices = changeNotices(changed)
	if changed.Already {
		r.Notices = append(r.Notices, "It was in the vault already.")
	}
	members, _, err := v.lastMembers(j)
	if err != nil {
		return nil, err
	}
	r.Identity = control.Identity{ID: request.Identity().String()}
	for _, i := range v.identities(members, j) {
		if i.ID == r.Identity.ID {
			r.Identity = i
		}
	}
	return r, nil
}

// IdentityList lists the identities that can open the vault, as far as this device knows.
func (v *Vault) IdentityList(_ context.Context, _ opener.Asker, _ *control.IdentityListRequest) (*control.IdentityListReply, error) {
	j, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	members, asOf, err := v.lastMembers(j)
	if err != nil {
		return nil, err
	}
	return &control.IdentityListReply{Vault: v.name, Identities: v.identities(members, j), AsOf: asOf}, nil
}

// lastMembers returns the newest members object that this device has.
func (v *Vault) lastMembers(j passphraseJob) (members *keyring.Members, asOf time.Time, err error) {
	if o, err := v.current(); err == nil {
		return o.now().members, o.access.Load().refreshed, nil
	}
	k, asOf, err := j.state.Keyring()
	if errors.Is(err, state.ErrNone) {
		return nil, asOf, control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "this device has never seen the keyring of vault %q", v.name)
	}
	if err != nil {
		return nil, asOf, err
	}
	members, err = keyring.ParseMembers(k.Members, j.vault)
	return members, asOf, err
}

func (v *Vault) identities(members *keyring.Members, j passphraseJob) (list []control.Identity) {
	names := v.petnames(j.state)
	for _, who := range members.Identities() {
		known := names[who.ID.String()]
		i := control.Identity{ID: who.ID.String(), Role: string(who.Role), Name: known.Name, This: who.ID == j.identity, Record: who.Seq}
		if block, ok := members.Unlock(who.ID); ok {
			i.Master = block.Master
		}
		if known.Admitted != 0 {
			at := time.Unix(known.Admitted, 0)
			i.Admitted = &at
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(x, y control.Identity) int { return cmp.Compare(x.Record, y.Record) })
	return list
}

// IdentityRemove removes identities from the vault.
func (v *Vault) IdentityRemove(ctx context.Context, ask opener.Asker, req *control.IdentityRemoveRequest) (*control.IdentityRemoveReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.IdentityRemoveReply, error) {
		return v.removeIdentities(ctx, req, ask)
	})
}

func (v *Vault) removeIdentities(ctx context.Context, req *control.IdentityRemoveRequest, ask opener.Asker) (*control.IdentityRemoveReply, error) {
	j, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	members, _, err := v.lastMembers(j)
	if err != nil {
		return nil, err
	}
	r := &control.IdentityRemoveReply{Replace: v.Keys()}
	job := &opener.RemoveIdentities{Place: v.place(j.vault, j.identity), Passphrase: 1}
	for _, name := range req.Identities {
		who, err := v.pickIdentity(members, j, name)
		if err != nil {
			return nil, err
		}
		victim, err := id.ParseIdentity(who.ID)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(job.Identities, victim) {
			job.Identities, r.Identities = append(job.Identities, victim), append(r.Identities, who)
		}
	}
	changed, err := runPassphraseJob(ctx, v, j, "identity remove", job, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	if err := v.takeChanged(ctx, j, changed); err != nil {
		return nil, err
	}
	r.KEK, r.Notices = changed.KEK, changeNotices(changed)
	if changed.Already {
		r.Notices = append(r.Notices, "None of these was in the vault any more.")
	}
	return r, nil
}

// pickIdentity finds an identity by its id, a prefix of the id, or this device's name
// for it.
func (v *Vault) pickIdentity(members *keyring.Members, j passphraseJob, want string) (control.Identity, error) {
	var found []control.Identity
	for _, i := range v.identities(members, j) {
		switch {
		case i.ID == want:
			return i, nil
		case want != "" && (i.Name == want || strings.HasPrefix(i.ID, want)):
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		if gone, err := id.ParseIdentity(want); err == nil { // may be removed with its rotation unfinished
			return control.Identity{ID: gone.String()}, nil
		}
		return control.Identity{}, control.Errorf(control.CodeNotFound, "`vigilctl identity list` shows them.", "vault %q has no identity %.60q", v.name, want)
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	return control.Identity{}, control.Errorf(control.CodeAmbiguous, "Name one of them by its id.", "%.60q matches %d identities: %s", want, len(found), strings.Join(ids, ", "))
}

func (v *Vault) petnames(st *state.Vault) map[string]petname {
	names := map[string]petname{}
	blob, err := st.Blob(namesBlob)
	if err == nil {
		err = json.Unmarshal(blob, &names)
	}
	if err != nil && !errors.Is(err, state.ErrNone) {
		v.d.Log.Warn("names of identities can't be read", "vault", v.name, "err", err)
	}
	return names
}

// rename sets this device's name for an identity.
func (v *Vault) rename(ctx context.Context, st *state.Vault, identity id.Identity, p petname) error {
	names := v.petnames(st)
	names[identity.String()] = p
	blob, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return st.SetBlob(ctx, namesBlob, blob)
}
