package daemon

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

// namesBlob is the state blob with what this device calls identities: the
// keyring has ids only.
const namesBlob = "identities"

// petname is what this device knows of an identity beside the keyring.
type petname struct {
	Name     string `json:"name,omitempty"`
	Admitted int64  `json:"admitted,omitempty"` // Unix seconds; 0: not by this device
}

// IdentityRequest makes an identity for this device, to be admitted by an owner.
func (h *handler) IdentityRequest(ctx context.Context, call *control.Call, req *control.IdentityRequestRequest) (*control.IdentityRequestReply, error) {
	v, err := h.d.findOrAdd(req.Vault)
	if err != nil {
		return nil, err
	}
	return inTurn(ctx, v, func(ctx context.Context) (*control.IdentityRequestReply, error) {
		return v.requestIdentity(ctx, req, asker(call))
	})
}

func (v *vault) requestIdentity(ctx context.Context, req *control.IdentityRequestRequest, ask opener.Asker) (*control.IdentityRequestReply, error) {
	name := pubkey.CleanComment(req.Name)
	if len(name) > keyring.MaxRequestName {
		return nil, control.Errorf(control.CodeUsage, "Choose a shorter one.", "a name has at most %d bytes", keyring.MaxRequestName)
	}
	v.configure(&control.InitRequest{Master: req.Master, Backend: req.Backend})
	a, err := v.passphraseJob()
	if e := control.AsError(err); e != nil && e.Code == control.CodeNotFound {
		return nil, control.Errorf(e.Code, "Bring the vault's file there first: it comes by whatever syncs it.", "%s", e.Message)
	}
	if err != nil {
		return nil, err
	}
	if err := v.mayEnrol(a, req.Replace); err != nil {
		return nil, err
	}
	if err := config.WriteVault(ctx, v.d.o.Paths, v.name, v.config().VaultConfig); err != nil {
		return nil, err
	}
	job := &opener.Enrol{
		Place: v.place(a.vault, id.Identity{}), Passphrase: 1, Name: name,
		MemoryKiB: int(req.KDF.MemoryMiB) << 10, Time: int(req.KDF.Time), Lanes: int(req.KDF.Parallelism),
	}
	reply, err := v.runPassphraseJob(ctx, a, "identity request", opener.Request{Enrol: job}, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	if reply.Enrol == nil {
		return nil, errors.New("request identity: the opener gave no answer")
	}
	v.d.calls.created(reply.Enrol.Calls)
	return v.requested(ctx, a, reply.Enrol, name)
}

// mayEnrol refuses to make an identity on a device that has one.
func (v *vault) mayEnrol(a passphraseJob, replace bool) error {
	if _, err := v.current(); err == nil {
		return control.Errorf(control.CodeExists, "Lock it first if you want a new one.", "vault %q is unlocked on this device, as identity %v", v.name, a.identity)
	}
	if a.identity.IsZero() || replace {
		return nil
	}
	_, err := a.state.Keyring()
	if errors.Is(err, state.ErrNone) {
		return nil // it was asked for before, and never admitted
	}
	if err != nil {
		return err
	}
	return control.Errorf(control.CodeExists, "Unlock it: vigilctl unlock --vault "+v.name+". Where it was removed, --replace makes a new one.", "this device has identity %v in vault %q", a.identity, v.name)
}

// requested remembers the identity that this device has asked for.
func (v *vault) requested(ctx context.Context, a passphraseJob, e *opener.Enrolled, name string) (*control.IdentityRequestReply, error) {
	request, err := keyring.ParseRequest(e.Text, a.vault)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return v.d.state.Bind(ctx, v.name, a.vault) },
		func() error { return a.state.DropBlob(ctx, shareBlob) }, // of an identity that was here before
		func() error { return a.state.SetBlob(ctx, identityBlob, e.Identity[:]) },
		func() error { return v.rename(ctx, a.state, e.Identity, petname{Name: name}) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &control.IdentityRequestReply{Vault: v.name, Identity: e.Identity.String(), Text: e.Text, Words: request.Words()}, nil
}

// IdentityRead looks at a request.
func (h *handler) IdentityRead(_ context.Context, _ *control.Call, req *control.IdentityReadRequest) (*control.IdentityReadReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	request, err := v.readRequest(req.Text)
	if err != nil {
		return nil, err
	}
	return &control.IdentityReadReply{
		Vault: v.name, Identity: request.Identity().String(), Name: pubkey.CleanComment(request.Name),
		Master: request.Block.Master, Words: request.Words(),
	}, nil
}

func (v *vault) readRequest(text string) (*keyring.Request, error) {
	f, err := v.readFile()
	if err != nil {
		return nil, err
	}
	request, err := keyring.ParseRequest(text, f.Vault())
	switch {
	case keyring.StageOf(err) == keyring.StageVault:
		return nil, control.Errorf(control.CodeRefused, "Name the right vault with --vault.", "the request is for another vault than %q", v.name)
	case err != nil:
		return nil, control.Errorf(control.CodeDamaged, "Have it sent again, whole, from BEGIN to END.", "%v", err)
	}
	return request, nil
}

// IdentityAdmit lets an identity in.
func (h *handler) IdentityAdmit(ctx context.Context, call *control.Call, req *control.IdentityAdmitRequest) (*control.IdentityAdmitReply, error) {
	return withVault(ctx, h.d, req.Vault, func(ctx context.Context, v *vault) (*control.IdentityAdmitReply, error) {
		return v.admit(ctx, req, asker(call))
	})
}

func (v *vault) admit(ctx context.Context, req *control.IdentityAdmitRequest, ask opener.Asker) (*control.IdentityAdmitReply, error) {
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
	a, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	job := &opener.Admit{Place: v.place(a.vault, a.identity), Passphrase: 1, Text: req.Text, Role: role}
	reply, err := v.runPassphraseJob(ctx, a, "identity admit", opener.Request{Admit: job}, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	if err := v.takeChanged(ctx, a, reply.Changed); err != nil {
		return nil, err
	}
	p := petname{Name: cmp.Or(pubkey.CleanComment(req.Name), pubkey.CleanComment(request.Name)), Admitted: time.Now().Unix()}
	if err := v.rename(ctx, a.state, request.Identity(), p); err != nil {
		return nil, err
	}
	r := &control.IdentityAdmitReply{}
	r.Notices = changeNotices(reply.Changed)
	if reply.Changed.Already {
		r.Notices = append(r.Notices, "It was in the vault already.")
	}
	r.Identity, err = v.identityNamed(reply.Changed.Keyring.Members, a, request.Identity())
	return r, err
}

// IdentityList lists who may open a vault, as far as this device knows.
func (h *handler) IdentityList(_ context.Context, _ *control.Call, req *control.IdentityListRequest) (*control.IdentityListReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	a, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	members, asOf, err := v.lastMembers(a)
	if err != nil {
		return nil, err
	}
	list, err := v.identities(members, a)
	return &control.IdentityListReply{Vault: v.name, Identities: list, AsOf: asOf}, err
}

// lastMembers is the newest members that this device has.
func (v *vault) lastMembers(a passphraseJob) (members []byte, asOf time.Time, err error) {
	v.mu.Lock()
	if o := v.open; o != nil {
		members, asOf = o.keyring.Members, o.refreshed
	}
	v.mu.Unlock()
	if members != nil {
		return members, asOf, nil
	}
	k, err := a.state.Keyring()
	if errors.Is(err, state.ErrNone) {
		return nil, asOf, control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "this device has never seen the keyring of vault %q", v.name)
	}
	return k.Members, k.Fetched, err
}

func (v *vault) identities(object []byte, a passphraseJob) ([]control.Identity, error) {
	members, err := keyring.ParseMembers(object, a.vault)
	if err != nil {
		return nil, err
	}
	names := v.petnames(a.state)
	var list []control.Identity
	for _, who := range members.Identities() {
		known := names[who.ID.String()]
		i := control.Identity{ID: who.ID.String(), Role: string(who.Role), Name: known.Name, This: who.ID == a.identity, Record: who.Seq}
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
	return list, nil
}

func (v *vault) identityNamed(members []byte, a passphraseJob, want id.Identity) (control.Identity, error) {
	list, err := v.identities(members, a)
	for _, i := range list {
		if i.ID == want.String() {
			return i, err
		}
	}
	return control.Identity{ID: want.String()}, err
}

// IdentityRemove shuts identities out.
func (h *handler) IdentityRemove(ctx context.Context, call *control.Call, req *control.IdentityRemoveRequest) (*control.IdentityRemoveReply, error) {
	return withVault(ctx, h.d, req.Vault, func(ctx context.Context, v *vault) (*control.IdentityRemoveReply, error) {
		return v.expel(ctx, req, asker(call))
	})
}

func (v *vault) expel(ctx context.Context, req *control.IdentityRemoveRequest, ask opener.Asker) (*control.IdentityRemoveReply, error) {
	a, err := v.passphraseJob()
	if err != nil {
		return nil, err
	}
	members, _, err := v.lastMembers(a)
	if err != nil {
		return nil, err
	}
	r := &control.IdentityRemoveReply{Replace: v.list()}
	job := &opener.Expel{Place: v.place(a.vault, a.identity), Passphrase: 1}
	for _, name := range req.Identities {
		who, err := v.pickIdentity(members, a, name)
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
	reply, err := v.runPassphraseJob(ctx, a, "identity remove", opener.Request{Expel: job}, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	if err := v.takeChanged(ctx, a, reply.Changed); err != nil {
		return nil, err
	}
	r.KEK, r.Notices = reply.Changed.KEK, changeNotices(reply.Changed)
	if reply.Changed.Already {
		r.Notices = append(r.Notices, "Nobody of these was in the vault any more.")
	}
	return r, nil
}

// pickIdentity finds an identity by its id, a prefix of it, or the name that
// this device gives it.
func (v *vault) pickIdentity(members []byte, a passphraseJob, want string) (control.Identity, error) {
	list, err := v.identities(members, a)
	if err != nil {
		return control.Identity{}, err
	}
	var found []control.Identity
	for _, i := range list {
		switch {
		case i.ID == want:
			return i, nil
		case want != "" && (i.Name == want || strings.HasPrefix(i.ID, want)):
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		if gone, err := id.ParseIdentity(want); err == nil { // perhaps removed, and its rotation unfinished
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

func (v *vault) petnames(st *state.Vault) map[string]petname {
	names := map[string]petname{}
	blob, err := st.Blob(namesBlob)
	if err == nil {
		err = json.Unmarshal(blob, &names)
	}
	if err != nil && !errors.Is(err, state.ErrNone) {
		v.d.log.Warn("names of identities can't be read", "vault", v.name, "err", err)
	}
	return names
}

// rename remembers what this device calls an identity.
func (v *vault) rename(ctx context.Context, st *state.Vault, identity id.Identity, p petname) error {
	names := v.petnames(st)
	names[identity.String()] = p
	blob, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return st.SetBlob(ctx, namesBlob, blob)
}
