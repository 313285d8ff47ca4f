package daemon

import (
	"context"
	"os"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/control"
	"vigil/internal/opener"
)

// handler answers vigilctl.
type handler struct{ d *Daemon }

func (h *handler) operations() []control.Operation {
	return []control.Operation{
		control.Handle(h.Version),
		control.Handle(h.Stop),
		control.Handle(h.Lock),
		control.Handle(h.Status),
		control.Handle(h.Doctor),
		control.Handle(h.List),
		control.Handle(h.Show),
		control.Handle(h.Init),
		control.Handle(h.Unlock),
		control.Handle(h.Add),
		control.Handle(h.Generate),
		control.Handle(h.Remove),
		control.Handle(h.Edit),
		control.Handle(h.Export),
		control.Handle(h.Why),
		control.Handle(h.Refresh),
		control.Handle(h.Rotate),
		control.Handle(h.IdentityRequest),
		control.Handle(h.IdentityRead),
		control.Handle(h.IdentityAdmit),
		control.Handle(h.IdentityList),
		control.Handle(h.IdentityRemove),
		control.Handle(h.Passphrase),
		control.Handle(h.MasterSet),
		control.Handle(h.BackendSet),
		control.Handle(h.Verify),
		control.Handle(h.History),
		control.Handle(h.Restore),
		control.Handle(h.KeyringRestore),
	}
}

// Version says which process answers.
func (h *handler) Version(context.Context, *control.Call, *control.VersionRequest) (*control.VersionReply, error) {
	return &control.VersionReply{Build: buildid.ID(), Version: buildid.Version(), PID: os.Getpid()}, nil
}

// Stop locks everything and ends the daemon.
func (h *handler) Stop(ctx context.Context, _ *control.Call, _ *control.StopRequest) (*control.StopReply, error) {
	r := &control.StopReply{PID: os.Getpid()}
	defer h.d.cancel() // whatever happens: the end locks too
	locked, err := h.lockAll(ctx)
	if err != nil {
		return nil, err
	}
	r.Locked = locked.Locked
	return r, nil
}

// Lock ends the keepers.
func (h *handler) Lock(ctx context.Context, _ *control.Call, req *control.LockRequest) (*control.LockReply, error) {
	if req.Vault == "" {
		return h.lockAll(ctx)
	}
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	r := &control.LockReply{}
	if v.lockAndWait(ctx) {
		r.Locked = []string{v.name}
	}
	return r, nil
}

func (h *handler) lockAll(ctx context.Context) (*control.LockReply, error) {
	r := &control.LockReply{}
	for _, v := range h.d.all() {
		if v.lockAndWait(ctx) {
			r.Locked = append(r.Locked, v.name)
		}
	}
	r.RemovedKeys = h.d.addedCount()
	return r, h.d.agent.DropAdded(ctx)
}

// Unlock opens a vault.
func (h *handler) Unlock(ctx context.Context, call *control.Call, req *control.UnlockRequest) (*control.UnlockReply, error) {
	v, err := h.d.find(req.Vault)
	if err != nil {
		return nil, err
	}
	already, err := v.unlock(ctx, req.Passphrase, asker(call))
	if err != nil {
		h.d.why.note(control.Refusal{Time: time.Now(), What: "unlock", Vault: v.name, Reason: err.Error(), UID: os.Getuid()})
		return nil, err
	}
	r := &control.UnlockReply{Vault: v.status(ctx), AlreadyUnlocked: already}
	if why, offline := v.unlockedOffline(); offline {
		r.Notices = append(r.Notices, "Unlocked without network, from what this device keeps: "+why+".")
	}
	return r, nil
}

// Init makes a vault.
func (h *handler) Init(ctx context.Context, call *control.Call, req *control.InitRequest) (*control.InitReply, error) {
	v, err := h.d.findOrAdd(req.Vault)
	if err != nil {
		return nil, err
	}
	notices, err := v.create(ctx, req, asker(call))
	if err != nil {
		return nil, err
	}
	return &control.InitReply{Saved: control.Saved{Notices: notices}, Vault: v.status(ctx)}, nil
}

// Why shows the newest refusals.
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
		r.Vaults = append(r.Vaults, v.refresh(ctx, asker(call)))
	}
	return r, nil
}

// asker asks the person at vigilctl on an opener's behalf.
func asker(call *control.Call) opener.Asker {
	return func(ctx context.Context, message string) (string, error) {
		answer, err := call.Ask(ctx, control.Ask{Kind: control.AskText, Message: message})
		return answer.Text, err
	}
}
