package daemon

import (
	"context"
	"os"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/checkup"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/opener"
)

// wantLocked is the lock limit in bytes that a keeper needs for a thousand keys.
// Ordinary logins have 8 MiB.
const wantLocked = 1 << 20

// Doctor checks the daemon, its vaults and the services behind them.
func (h *handler) Doctor(ctx context.Context, call *control.Call, req *control.DoctorRequest) (*control.DoctorReply, error) {
	vaults, err := h.d.named(req.Vault)
	if err != nil {
		return nil, err
	}
	r := &control.DoctorReply{Checks: append(h.d.examine(), h.d.examineAsking(ctx, call.Peer.PID))}
	for _, v := range vaults {
		r.Checks = append(r.Checks, checkup.Of(v.Name(), v.Examine(ctx, asker(call))...)...)
	}
	return r, nil
}

// readable reports that the daemon's user can read its program, which is why it was
// dumpable while it started. Root can read any program, and look into any process.
func (d *Daemon) readable() bool { return !d.o.Hardening.FromStart && os.Geteuid() != 0 }

// examine checks the daemon itself.
func (d *Daemon) examine() []checkup.Check {
	list := []checkup.Check{checkup.Fine("daemon", "pid %d, build %s, up %v", os.Getpid(), buildid.ID(), time.Since(d.started).Round(time.Second))}
	if !d.o.Hardening.Undumpable || !d.o.Hardening.NoCore {
		list = append(list, checkup.Failure("hardening", "Read the daemon's log; docs/threat-model.md says what each system offers.", "the daemon can be read by other programs of its user"))
	} else if d.readable() {
		list = append(list, checkup.Warning("hardening", "Install vigild with mode 0111 (make build does), then restart it.", "the daemon could be read by other programs of its user until it had started"))
	}
	if err := guard.CheckLockLimit(wantLocked); err != nil {
		list = append(list, checkup.Failure("lock limit", opener.NextLocked, "%v", err))
	} else {
		list = append(list, checkup.Fine("lock limit", "keepers may lock %d KiB and more", wantLocked>>10))
	}
	list = append(list, d.examineAutoLock()...)
	if _, err := config.Load(d.o.Paths); err != nil {
		list = append(list, checkup.Failure("config", "Correct the line: the daemon still uses what it read at its start, and won't start again.", "%v", err))
	}
	return list
}
