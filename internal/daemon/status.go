package daemon

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
)

// Status returns the state of the daemon.
func (h *handler) Status(ctx context.Context, _ *control.Call, _ *control.StatusRequest) (*control.StatusReply, error) {
	d := h.d
	d.discover()
	r := &control.StatusReply{
		PID: os.Getpid(), Build: buildid.ID(), Version: buildid.Version(),
		Started: d.started, UptimeSeconds: int64(time.Since(d.started).Seconds()),
		AgentSocket: d.o.Paths.AgentSocket(), ControlSocket: d.o.Paths.ControlSocket(), Config: d.o.Paths.ConfigFile(),
		AddedKeys: d.addedCount(), AgentLocked: d.agent.Locked(), Touch: d.tokens.touch(), KMSCalls: d.device.Calls.Get(),
		Refusals: d.why.count(), Connections: d.crowd.Size(), LogFile: d.o.LogFile,
		Sessions: len(d.o.Places.Sessions.All()), Standbys: d.o.Places.Standbys.Len(),
	}
	r.Processes = append(r.Processes, control.ProcessStatus{
		Role: "front", PID: os.Getpid(), Dumpable: !d.o.Hardening.Undumpable, ResidentBytes: resident(os.Getpid()),
	})
	d.autoLock(r)
	if text := d.warnAutoLock(r); text != "" {
		r.Warnings = append(r.Warnings, text)
	}
	if d.readable() {
		r.Warnings = append(r.Warnings, "vigild's binary can be read by its user, so it was dumpable while it started; install it with mode 0111 (make build does).")
	}
	if err := guard.UntracedSelf(); err != nil {
		r.Warnings = append(r.Warnings, err.Error()+", so it takes no secret. "+opener.NextTraced)
	}
	if guard.Traceable() {
		r.Warnings = append(r.Warnings, "This vigild was built for tests: whoever has started it can trace it. Install another one.")
	}
	if keyring.WeakKDF {
		r.Warnings = append(r.Warnings, "This vigild was built for tests: it makes vaults whose passphrases are cheap to guess. Install another one.")
	}
	if c := d.added.running(); c != nil {
		r.Processes = append(r.Processes, keeperStatus(ctx, c.Client, ""))
	}
	for _, v := range d.all() {
		r.Vaults = append(r.Vaults, v.Status())
		if k := v.Keeper(); k != nil {
			r.Processes = append(r.Processes, keeperStatus(ctx, k, v.Name()))
		}
	}
	return r, nil
}

// addedCount returns how many keys ssh-add has added.
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

// resident returns a process's resident memory in bytes, or 0 if the system doesn't say.
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
