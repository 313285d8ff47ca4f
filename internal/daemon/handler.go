package daemon

import (
	"context"
	"os"
	"slices"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/opener"
	"vigil/internal/paths"
	"vigil/internal/vault"
)

// handler answers vigilctl.
type handler struct{ d *Daemon }

func (h *handler) operations() []control.Operation {
	return []control.Operation{
		control.Handle(h.Version),
		control.Handle(h.Stop),
		control.Handle(h.Lock),
		control.Handle(h.Status),
		control.Handle(h.Ready),
		control.Handle(h.Doctor),
		control.Handle(h.List),
		control.Handle(h.Show),
		control.Handle(h.Why),
		control.Handle(h.Grants),
		control.Handle(h.Refresh),
		control.Handle(h.History),
		control.Handle(h.Forget),
		control.Handle(h.Rename),
		control.Handle(h.Unlock),
		control.Handle(h.RegisterSession),
		control.Handle(h.Sessions),
		control.Handle(h.Ask),
		inVault(h.d.findOrAdd, (*vault.Vault).Init),
		inVault(h.d.findOrAdd, (*vault.Vault).IdentityRequest),
		inVault(h.d.find, (*vault.Vault).Add),
		inVault(h.d.find, (*vault.Vault).Generate),
		inVault(h.d.find, (*vault.Vault).Rotate),
		inVault(h.d.find, (*vault.Vault).IdentityRead),
		inVault(h.d.find, (*vault.Vault).IdentityAdmit),
		inVault(h.d.find, (*vault.Vault).IdentityList),
		inVault(h.d.find, (*vault.Vault).IdentityRemove),
		inVault(h.d.find, (*vault.Vault).Passphrase),
		inVault(h.d.find, (*vault.Vault).MasterSet),
		inVault(h.d.find, (*vault.Vault).BackendSet),
		inVault(h.d.find, (*vault.Vault).Verify),
		inVault(h.d.find, (*vault.Vault).KeyringRestore),
		ofKey(h.d, (*vault.Vault).Remove),
		ofKey(h.d, (*vault.Vault).Edit),
		ofKey(h.d, (*vault.Vault).Export),
		ofKey(h.d, (*vault.Vault).Restore),
	}
}

// inVault returns an operation on the vault that a request names, looked up by find.
func inVault[Q, R any, P interface {
	*Q
	control.Request[R]
	control.InVault
}](find func(name string) (*vault.Vault, error), do func(*vault.Vault, context.Context, opener.Asker, P) (*R, error)) control.Operation {
	return control.Handle(func(ctx context.Context, call *control.Call, req P) (*R, error) {
		v, err := find(control.VaultOf(req))
		if err != nil {
			return nil, err
		}
		return do(v, ctx, asker(call), req)
	})
}

// ofKey returns an operation on the key that a request names, in the vault it names
// or else in any. The key is as it was before the vault's turn came.
func ofKey[Q, R any, P interface {
	*Q
	control.Request[R]
	control.OfKey
}](d *Daemon, do func(*vault.Vault, context.Context, opener.Asker, *vault.Key, P) (*R, error)) control.Operation {
	return control.Handle(func(ctx context.Context, call *control.Call, req P) (*R, error) {
		v, key, err := d.resolve(control.VaultOf(req), control.KeyOf(req))
		if err != nil {
			return nil, err
		}
		return do(v, ctx, asker(call), key, req)
	})
}

// Version returns this process's version.
func (h *handler) Version(context.Context, *control.Call, *control.VersionRequest) (*control.VersionReply, error) {
	return &control.VersionReply{Build: buildid.ID(), Version: buildid.Version(), PID: os.Getpid()}, nil
}

// Ready returns an error if a passphrase would be asked for in vain.
func (h *handler) Ready(ctx context.Context, _ *control.Call, req *control.ReadyRequest) (*control.ReadyReply, error) {
	reply := &control.ReadyReply{}
	var v *vault.Vault
	var err error
	switch {
	case req.Create:
		if v, err = h.d.findOrAdd(req.Vault); err == nil {
			err = v.Vacant(req)
		}
	case req.New:
		v, _ = h.d.find(req.Vault) // a device that joins may have none yet
	case req.Vault != "":
		if v, err = h.d.find(req.Vault); err == nil {
			err = v.Complete()
		}
	}
	if err != nil {
		return nil, err
	}
	if req.New && v != nil {
		reply.Guess = v.GuessCost(req)
	}
	return reply, h.d.device.Ready(ctx)
}

// Stop locks everything and ends the daemon.
func (h *handler) Stop(ctx context.Context, _ *control.Call, _ *control.StopRequest) (*control.StopReply, error) {
	r := &control.StopReply{PID: os.Getpid()}
	defer h.d.cancel() // in any case: the daemon's end locks, too
	locked, err := h.d.lockAll(ctx)
	if err != nil {
		return nil, err
	}
	r.Locked = locked.Locked
	return r, nil
}

// Lock locks vaults by ending their keepers.
func (h *handler) Lock(ctx context.Context, _ *control.Call, req *control.LockRequest) (*control.LockReply, error) {
	if req.Vault == "" {
		return h.d.lockAll(ctx)
	}
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	r := &control.LockReply{}
	if v.Lock(ctx) {
		r.Locked = []string{v.Name()}
	}
	return r, nil
}

// Grants returns the answers that hold, or revokes them.
func (h *handler) Grants(_ context.Context, _ *control.Call, req *control.GrantsRequest) (*control.GrantsReply, error) {
	r := &control.GrantsReply{Grants: []control.Grant{}}
	if req.Revoke {
		if r.Revoked = h.d.agent.Revoke(req.Number); r.Revoked == 0 && req.Number != 0 {
			return nil, control.Errorf(control.CodeNotFound, "`vigilctl grants` lists those there are.", "no grant has the number %d", req.Number)
		}
	}
	for _, g := range h.d.agent.Grants() {
		r.Grants = append(r.Grants, control.Grant{
			Number: g.Number, Until: time.Now().Add(g.Left).Round(time.Second), Vault: g.Vault, Key: g.Comment, Fingerprint: g.Fingerprint,
			Purpose: g.Purpose, Host: g.Host, From: g.From, Origin: g.Origin, Uses: g.Uses,
		})
	}
	return r, nil
}

// Why returns the newest refusals.
func (h *handler) Why(_ context.Context, _ *control.Call, req *control.WhyRequest) (*control.WhyReply, error) {
	return &control.WhyReply{Refusals: h.d.why.newest(req.Limit)}, nil
}

// Refresh fetches the keyring of unlocked vaults.
func (h *handler) Refresh(ctx context.Context, call *control.Call, req *control.RefreshRequest) (*control.RefreshReply, error) {
	vaults, err := h.d.named(req.Vault)
	if err != nil {
		return nil, err
	}
	r := &control.RefreshReply{}
	for _, v := range vaults {
		r.Vaults = append(r.Vaults, v.Refresh(ctx, asker(call)))
	}
	return r, nil
}

// History lists the generations of a vault's file and, optionally, a key's revisions.
func (h *handler) History(_ context.Context, _ *control.Call, req *control.HistoryRequest) (*control.HistoryReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	var key *vault.Key
	if req.Key != "" {
		if _, key, err = h.d.resolve(v.Name(), req.Key); err != nil {
			return nil, err
		}
	}
	return v.History(key)
}

// Forget locks a vault, and forgets it.
func (h *handler) Forget(ctx context.Context, _ *control.Call, req *control.ForgetRequest) (*control.ForgetReply, error) {
	v, err := h.d.findNamed(req.Vault)
	if err != nil {
		return nil, err
	}
	v.Lock(ctx)
	r, err := v.Forget(ctx)
	if err == nil {
		h.d.replace(v, nil)
	}
	return r, err
}

// Rename locks a vault, and gives it another name.
func (h *handler) Rename(ctx context.Context, _ *control.Call, req *control.RenameRequest) (*control.RenameReply, error) {
	v, err := h.d.findNamed(req.Vault)
	if err != nil {
		return nil, err
	}
	if err := paths.CheckName(req.To); err != nil {
		return nil, control.Errorf(control.CodeUsage, "Choose another name.", "%v", err)
	}
	if _, err := h.d.find(req.To); err == nil {
		return nil, control.Errorf(control.CodeExists, "Choose another name. Nothing was changed.", "there is a vault %q already", req.To)
	}
	v.Lock(ctx)
	c, err := v.Rename(ctx, req.To)
	if err != nil {
		return nil, err
	}
	renamed := vault.New(h.d.device, c)
	h.d.replace(v, renamed)
	renamed.ShowLocked()
	r := &control.RenameReply{Vault: renamed.Status()}
	if now, err := config.Load(h.d.o.Paths); err == nil && slices.ContainsFunc(now.Vaults, func(c config.Vault) bool { return c.Name == v.Name() }) {
		r.Notices = append(r.Notices, h.d.o.Paths.ConfigFile()+" still names "+v.Name()+": change it there, too.")
	}
	return r, nil
}

// asker lets an opener ask the person at vigilctl.
func asker(call *control.Call) opener.Asker {
	return func(ctx context.Context, message string) (string, error) {
		answer, err := call.Ask(ctx, control.Ask{Message: message})
		return answer.Text, err
	}
}
