package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/control"
	"vigil/internal/keeper"
)

// Status shows the state of everything.
func (h *handler) Status(ctx context.Context, _ *control.Call, _ *control.StatusRequest) (*control.StatusReply, error) {
	d := h.d
	r := &control.StatusReply{
		PID: os.Getpid(), Build: buildid.ID(), Version: buildid.Version(),
		Started: d.started, UptimeSeconds: int64(time.Since(d.started).Seconds()),
		AgentSocket: d.o.Paths.AgentSocket(), ControlSocket: d.o.Paths.ControlSocket(), Config: d.o.Paths.ConfigFile(),
		AddedKeys: d.addedCount(), AgentLocked: d.agent.Locked(), KMSCalls: d.calls.get(),
		Refusals: d.why.count(), Connections: d.open.get(), LogFile: d.o.LogFile,
	}
	r.Processes = append(r.Processes, control.ProcessStatus{
		Role: "front", PID: os.Getpid(), Dumpable: !d.o.Hardening.Undumpable, ResidentBytes: resident(os.Getpid()),
	})
	if !d.o.Hardening.FromStart {
		r.Warnings = append(r.Warnings, "vigild's binary can be read by its user, so it was dumpable while it started; install it with mode 0111 (make build does).")
	}
	if c := d.added.running(); c != nil {
		r.Processes = append(r.Processes, keeperStatus(ctx, c, ""))
	}
	for _, v := range d.all() {
		r.Vaults = append(r.Vaults, v.status(ctx))
		if o, err := v.current(); err == nil {
			r.Processes = append(r.Processes, keeperStatus(ctx, o.keeper, v.name))
		}
	}
	return r, nil
}

// addedCount is how many keys ssh-add has added.
func (d *Daemon) addedCount() (n int) {
	for _, k := range d.agent.Keys() {
		if k.Vault == "" {
			n++
		}
	}
	return n
}

func keeperStatus(ctx context.Context, c *keeper.Client, vault string) control.ProcessStatus {
	p := control.ProcessStatus{
		Role: "keeper", PID: c.PID(), Vault: vault, ResidentBytes: resident(c.PID()),
		Dumpable: !c.Report().Undumpable, Sandbox: c.Report().Holds, Missing: c.Report().Missing,
	}
	if s, err := c.Stats(ctx); err == nil {
		p.Keys = s.Keys
		p.Guarded = &control.Guarded{Kind: s.Kind, Used: s.Used, Size: s.Mapped}
	}
	return p
}

// resident is a process's resident memory in bytes, or 0 where the system doesn't say.
func resident(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// status is the state of one vault.
func (v *vault) status(context.Context) control.VaultStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := control.VaultStatus{
		Name: v.name, State: control.VaultLocked, Path: v.cfg.Path, Backend: v.cfg.Backend, Master: v.cfg.Master, Keys: len(v.listed),
	}
	if time.Now().Before(v.slow.until) {
		s.RetryAfter = &v.slow.until
	}
	o := v.open
	if o == nil {
		_, err := os.Stat(v.cfg.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.State, s.Next = control.VaultMissing, "Make it: vigilctl up."
		case err != nil:
			s.State, s.Problem = control.VaultDamaged, err.Error()
		case v.problem != nil && (v.problem.Code == control.CodeRevoked || v.problem.Code == control.CodeRefused):
			s.State, s.Problem, s.Next = control.VaultRevoked, v.problem.Message, v.problem.Next
		case v.problem != nil:
			s.State, s.Problem, s.Next = control.VaultDamaged, v.problem.Message, v.problem.Next
		}
		return s
	}
	since, leaseEnds, refreshed := o.since, o.leaseEnds, o.refreshed
	s.LeaseEnds, s.LastRefresh, s.Offline = &leaseEnds, &refreshed, o.offline
	if v.problem != nil {
		s.Problem, s.Next = v.problem.Message, v.problem.Next
	}
	s.State, s.ID, s.Identity, s.UnlockedAt = control.VaultUnlocked, o.id.String(), o.identity.String(), &since
	s.Pending = o.pending
	s.Keys, s.Waiting, s.Epoch, s.KEKVersion = len(o.keys), o.waiting, o.loaded.Pins.Deks.Epoch, o.loaded.KEK
	s.Keeper, s.Damaged = o.keeper.PID(), o.damaged
	for _, f := range o.keys {
		if f.problem != "" {
			s.Damaged = append(s.Damaged, f.problem)
		}
	}
	return s
}
