package daemon

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
)

// Status shows the state of everything.
func (h *handler) Status(ctx context.Context, _ *control.Call, _ *control.StatusRequest) (*control.StatusReply, error) {
	d := h.d
	r := &control.StatusReply{
		PID: os.Getpid(), Build: buildid.ID(), Version: buildid.Version(),
		Started: d.started, UptimeSeconds: int64(time.Since(d.started).Seconds()),
		AgentSocket: d.o.Paths.AgentSocket(), ControlSocket: d.o.Paths.ControlSocket(), Config: d.o.Paths.ConfigFile(),
		AddedKeys: d.addedCount(), AgentLocked: d.agent.Locked(), KMSCalls: d.calls.get(),
		Refusals: d.why.count(), Connections: d.crowd.Size(), LogFile: d.o.LogFile,
	}
	r.Processes = append(r.Processes, control.ProcessStatus{
		Role: "front", PID: os.Getpid(), Dumpable: !d.o.Hardening.Undumpable, ResidentBytes: resident(os.Getpid()),
	})
	if !d.o.Hardening.FromStart {
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
	vaultID, empty, fileErr := v.readHeader() // before v.mu, as it's I/O
	begun := false
	var kept opener.KeptShare
	if fileErr == nil {
		kept = v.kept(vaultID)
		if empty {
			begun, fileErr = v.begun(vaultID)
		}
	}
	rotation := v.unfinishedRotation()
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.config()
	s := control.VaultStatus{
		Name: v.name, State: control.VaultLocked, Path: c.Path, Backend: c.Backend, Master: c.Master, Keys: len(v.listed),
	}
	if time.Now().Before(v.slow.until) {
		s.RetryAfter = &v.slow.until
	}
	if kept.Expires != 0 {
		until := time.Unix(kept.Expires, 0)
		s.OfflineUntil, s.DeviceKey = &until, kept.Where
	}
	var copies *control.Error
	if v.open != nil {
		copies = v.copies
		if fileErr == nil {
			fileErr = v.fileErr // the file may be good as far as its first line
		}
	}
	if p := cmp.Or(control.AsError(fileErr), v.problem, copies); p != nil {
		s.Problem, s.Next = p.Message, p.Next
		s.State = stateFor(p.Code, v.open != nil)
	}
	if begun && v.open == nil {
		s.State = control.VaultMissing
		s.Problem, s.Next = "its making was interrupted", "Go on: vigilctl up (or vigilctl init)."
	}
	if v.open != nil {
		v.open.describe(&s)
		s.Rotation = rotation
	}
	return s
}

// unfinishedRotation says what is left of a rotation of an unlocked vault's KEK.
// The keyring is read without v.mu: its signatures take a while.
func (v *vault) unfinishedRotation() string {
	v.mu.Lock()
	o := v.open
	if o == nil {
		v.mu.Unlock()
		return ""
	}
	members, loaded := o.keyring.Members, o.loaded
	v.mu.Unlock()
	r, err := o.rotationOf(members, loaded)
	if err != nil {
		v.d.log.Error("rotation can't be looked at", "vault", v.name, "err", err)
		return ""
	}
	return r.left(v.name)
}

// stateFor is the state of a vault that has a problem.
func stateFor(code control.Code, open bool) control.VaultState {
	switch {
	case open:
		return control.VaultUnlocked
	case code == control.CodeNotFound:
		return control.VaultMissing
	case code == control.CodeDamaged:
		return control.VaultDamaged
	case code == control.CodeRevoked, code == control.CodeRefused:
		return control.VaultRevoked
	}
	return control.VaultLocked
}

// describe fills in what is known of an unlocked vault.
func (o *openVault) describe(s *control.VaultStatus) {
	now := clock.Now()
	since, leaseEnds, refreshed := o.since, o.leaseEnds.Shown(now), o.refreshed
	s.State, s.ID, s.Identity, s.UnlockedAt = control.VaultUnlocked, o.id.String(), o.identity.String(), &since
	s.LeaseEnds, s.LastRefresh, s.Offline = &leaseEnds, &refreshed, o.offline
	if !o.proved.IsZero() {
		proved := o.proved.Shown(now)
		s.LastProof = &proved
	}
	s.Keys, s.Waiting, s.Pending = len(o.keys), o.waiting, o.pending
	s.Epoch, s.KEKVersion = o.loaded.Pins.Deks.Epoch, o.loaded.Pins.Deks.KEK
	s.Keeper, s.Damaged = o.keeper.PID(), o.damaged
	for _, f := range o.keys {
		if f.problem != "" {
			s.Damaged = append(s.Damaged, f.problem)
		}
	}
	s.Missing = o.missing()
}
