package vault

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"vigil/internal/clock"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/fault"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// gitAttributes lets git merge two vault files by keeping the lines of both.
const gitAttributes = "vault.jsonl -text merge=union\n"

// Init creates the vault.
func (v *Vault) Init(ctx context.Context, ask opener.Asker, req *control.InitRequest) (*control.InitReply, error) {
	notices, err := inTurn(ctx, v, func(ctx context.Context) ([]string, error) { return v.create(ctx, req, ask) })
	if err != nil {
		return nil, err
	}
	return &control.InitReply{Saved: control.Saved{Notices: notices}, Vault: v.Status()}, nil
}

// create creates the keyring (in an opener), the vault file, the keyring in the
// backend and this device's state, in this order. An interrupted creation is resumed
// if its keyring is stored. Otherwise it starts over and replaces the vault file,
// which has no items: nothing was sealed for it yet.
func (v *Vault) create(ctx context.Context, req *control.InitRequest, ask opener.Asker) (notices []string, err error) {
	begun, err := v.vacant()
	if err != nil {
		return nil, err
	}
	before, exists := v.configure(req), !begun.IsZero()
	defer func() {
		if err != nil && !exists { // nothing was created in these places
			v.setConfig(before)
		}
	}()
	if !begun.IsZero() {
		whole, err := v.resume(ctx, req, begun, ask)
		if err != nil {
			return nil, err
		}
		if whole {
			return v.notices(), nil
		}
	}
	pair, err := newPair()
	if err != nil {
		return nil, err
	}
	defer pair.close()
	c, err := v.d.Opener.Start(ctx, id.Vault{}, req.Passphrase, pair.openers)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	defer c.Close()
	place := v.place(id.Vault{}, id.Identity{})
	asked := clock.Now()
	keep := v.keepOffline()
	if !req.Unlock {
		keep = 0 // the first unlock keeps a share
	}
	created, err := opener.Do(ctx, c, &opener.Create{
		Place: place, Passphrase: 1, KeepOffline: keep,
		MemoryKiB: int(req.KDF.MemoryMiB) << 10, Time: int(req.KDF.Time), Lanes: int(req.KDF.Parallelism),
	}, opener.Seen{}, ask)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	v.d.Calls.created(created.Calls)
	if err := v.begin(ctx, created.Vault); err != nil {
		return nil, err
	}
	exists = true
	if err := v.writeNew(created.Header); err != nil {
		return nil, err
	}
	if !begun.IsZero() {
		if err := v.d.State.Vault(begun).Forget(ctx); err != nil { // replaced
			return nil, err
		}
	}
	stored, err := opener.Do(ctx, c, &opener.StoreNew{Place: place, Keyring: created.Keyring}, opener.Seen{}, ask)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	created.Keyring = *stored
	if err := v.finish(ctx, created); err != nil {
		return nil, err
	}
	if req.Unlock {
		if err := v.enter(ctx, c, pair, created, asked); err != nil {
			return nil, err
		}
		v.keepCreated(ctx, created)
	}
	return v.notices(), nil
}

// notices returns what to tell the user about a new vault.
func (v *Vault) notices() (notices []string) {
	if v.config().Master == config.DefaultMaster {
		notices = append(notices, "The local master key is in "+v.d.Paths.Device()+": back it up. Without it the vault can't be opened.")
	}
	return notices
}

// enter unlocks the new vault: its opener still has the identity. asked is a moment
// before the master key was asked for the share.
func (v *Vault) enter(ctx context.Context, c *opener.Client, p *pair, created *opener.Created, asked clock.Instant) error {
	f, err := v.readFile()
	if err != nil {
		return err
	}
	k, err := v.d.startKeeper(ctx, created.Vault)
	if err != nil {
		return keeperError(v.name, err)
	}
	defer context.AfterFunc(ctx, k.Close)() // so that a lock doesn't wait for a keeper that has stopped
	if _, err := meet(ctx, v, c, p, attachIdentity(k), &opener.HandOver{Keeper: 2}, opener.Seen{}, nil); err != nil {
		k.Close()
		return err
	}
	o := v.newOpen(k, created.Vault, asked)
	o.identity = created.Identity
	if err := v.load(ctx, o, created.Keyring, f); err != nil {
		k.Close()
		return err
	}
	return v.install(ctx, o)
}

// configure sets the request's master key and backend in the vault's configuration,
// and returns the previous configuration.
func (v *Vault) configure(req *control.InitRequest) (before config.Vault) {
	before = *v.config()
	next := before
	if req.Master != "" {
		next.Master = req.Master
	}
	if req.Backend != "" {
		next.Backend = req.Backend
	}
	v.setConfig(next)
	return before
}

// writeNew writes the vault file, and the .gitattributes that tells git how to merge it.
func (v *Vault) writeNew(header []byte) error {
	dir := filepath.Dir(v.config().Path)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := durable.Create(filepath.Join(dir, ".gitattributes"), []byte(gitAttributes), 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.Replace(v.config().Path, header, durable.Options{Mode: 0o600, Keep: true})
}

// finish records on this device that the vault is complete.
func (v *Vault) finish(ctx context.Context, created *opener.Created) error {
	if err := config.WriteVault(ctx, v.d.Paths, v.name, v.config().VaultConfig); err != nil {
		return err
	}
	st := v.d.State.Vault(created.Vault)
	if err := st.SetBlob(ctx, identityBlob, created.Identity[:]); err != nil {
		return err
	}
	if err := v.d.State.Bind(ctx, v.name, created.Vault); err != nil {
		return err
	}
	return st.DropBlob(ctx, begunBlob)
}

// begunBlob is the state blob that marks a vault whose creation has begun on this
// device. It holds the vault's name.
const begunBlob = "begun"

// begin writes begunBlob, before anything of the vault exists.
func (v *Vault) begin(ctx context.Context, vaultID id.Vault) error {
	return v.d.State.Vault(vaultID).SetBlob(ctx, begunBlob, []byte(v.name))
}

// begun reports whether this device began to create a vault and hasn't finished. An
// empty vault file from elsewhere doesn't count.
func (v *Vault) begun(vaultID id.Vault) (bool, error) {
	names, err := v.d.State.Names()
	if err != nil {
		return false, err
	}
	if _, ended := names[v.name]; ended {
		return false, nil
	}
	name, err := v.d.State.Vault(vaultID).Blob(begunBlob)
	if errors.Is(err, state.ErrNone) {
		return false, nil
	}
	return string(name) == v.name, err
}

// vacant returns an error if there is a vault that would be overwritten. It returns
// the id of a vault whose creation was interrupted, or zero.
func (v *Vault) vacant() (begun id.Vault, err error) {
	head, empty, err := readVaultHeader(v.config().Path)
	if errors.Is(err, fs.ErrNotExist) {
		return begun, nil
	}
	if err != nil {
		return begun, control.Errorf(control.CodeFailed, strings.TrimSpace(fault.NextAfter(err)+" Nothing was changed."), "look at %s: %v", v.config().Path, err)
	}
	if vaultID, err := vaultfile.ParseHeader(head); err == nil && empty {
		ours, err := v.begun(vaultID)
		if err != nil {
			return begun, err
		}
		if ours {
			return vaultID, nil
		}
	}
	next := "Use it: vigilctl unlock --vault " + v.name + "."
	if names, err := v.d.State.Names(); err == nil && names[v.name] == (id.Vault{}) {
		next = "To open another device's vault here, request admission: vigilctl identity request --help."
	}
	return begun, control.Errorf(control.CodeExists, next, "vault %q is there already: %s", v.name, v.config().Path)
}

// resume completes the creation of a vault whose keyring is stored, and reports
// whether there was one. The passphrase must be that of the interrupted creation.
func (v *Vault) resume(ctx context.Context, req *control.InitRequest, begun id.Vault, ask opener.Asker) (whole bool, err error) {
	c, err := v.d.Opener.Start(ctx, begun)
	if err != nil {
		return false, openerError(v.name, err)
	}
	defer c.Close()
	there, err := opener.Do(ctx, c, &opener.Fetch{Place: v.place(begun, id.Identity{})}, opener.Seen{}, ask)
	if errors.Is(err, &opener.Error{Kind: opener.Missing}) {
		return false, nil
	}
	if err != nil {
		return false, openerError(v.name, err)
	}
	if _, err := keyring.ParseMembers(there.Members, begun); err != nil {
		return false, nil // another vault's: the opener refuses to replace it
	}
	if err := config.WriteVault(ctx, v.d.Paths, v.name, v.config().VaultConfig); err != nil {
		return false, err
	}
	if err := v.slowDown(ctx); err != nil {
		return false, err
	}
	o, err := v.openWith(ctx, v.byPassphrase(req.Passphrase, ask))
	v.noteAttempt(err)
	if err != nil {
		return false, err
	}
	if err := v.d.State.Vault(begun).DropBlob(ctx, begunBlob); err != nil {
		o.keeper.Close()
		return false, err
	}
	if !req.Unlock {
		o.keeper.Close()
		return true, nil
	}
	return true, v.install(ctx, o)
}
