package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/config"
	"vigil/internal/control"
)

// Presence tells when the owner of this session has gone.
type Presence interface {
	// Watch calls gone after each of events, one at a time, until ctx ends. Before a
	// suspend, the machine sleeps once gone has returned, as far as Watch can delay it.
	Watch(ctx context.Context, events []config.LockEvent, gone func(context.Context, config.LockEvent))
	// Problem returns why Watch isn't told of every event now, or nil.
	Problem() error
}

// dropTimeout is how long the keeper of added keys may take to drop them while ssh-add -x
// holds. Then it is ended, for which it has another second, within the 5 s for which logind
// delays a sleep.
const dropTimeout = 3 * time.Second

// happened says what an event is, as the reason of a lock.
var happened = map[config.LockEvent]string{
	config.LockOnSuspend:    "the machine was put to sleep",
	config.LockOnLogout:     "the user's last session ended",
	config.LockOnScreenLock: "the screen was locked",
}

// watchPresence locks after the events of lock_on until ctx ends.
func (d *Daemon) watchPresence(ctx context.Context) {
	if d.presence() {
		d.o.Presence.Watch(ctx, d.o.Config.LockOn, d.ownerGone)
	}
}

// presence reports whether there is something to watch for, and a way.
func (d *Daemon) presence() bool {
	return d.o.Presence != nil && d.o.Config != nil && len(d.o.Config.LockOn) > 0
}

// ownerGone locks everything, and says why for `vigilctl why`.
func (d *Daemon) ownerGone(ctx context.Context, e config.LockEvent) {
	ctx, cancel := context.WithTimeout(ctx, dropTimeout)
	defer cancel()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // ssh-add -X then says that vigild must be restarted
		defer close(ended)
		d.added.close()
	})
	r, err := d.lockAll(ctx)
	if !stop() {
		<-ended
	}
	if err != nil {
		d.log.Error("added keys can't be dropped", "event", e, "err", err)
	}
	for _, name := range r.Locked {
		d.why.note(control.Refusal{
			What: "keep", Vault: name, Reason: happened[e] + ", so the vault is locked (lock_on)",
			Next: "Unlock it: vigilctl unlock --vault " + name,
		})
	}
	if len(r.Locked) > 0 || r.RemovedKeys > 0 {
		d.log.Info("locked", "event", e, "vaults", r.Locked, "dropped", r.RemovedKeys)
	}
}

// lockAll locks every vault, and drops what ssh-add added: all at once, as a keeper that
// hangs takes a second to end.
func (d *Daemon) lockAll(ctx context.Context) (*control.LockReply, error) {
	r := &control.LockReply{RemovedKeys: d.addedCount()}
	vaults := d.all()
	locked := make([]bool, len(vaults))
	var locks sync.WaitGroup
	for i, v := range vaults {
		locks.Go(func() { locked[i] = v.Lock(ctx) })
	}
	err := d.agent.DropAdded(ctx)
	locks.Wait()
	for i, v := range vaults {
		if locked[i] {
			r.Locked = append(r.Locked, v.Name())
		}
	}
	return r, err
}

// autoLock says what locks, and why it doesn't, for status.
func (d *Daemon) autoLock(r *control.StatusReply) {
	if !d.presence() {
		return
	}
	for _, e := range d.o.Config.LockOn {
		r.LockOn = append(r.LockOn, string(e))
	}
	if err := d.o.Presence.Problem(); err != nil {
		r.LockOnProblem = err.Error()
	}
}

// examineAutoLock checks that this daemon is told when to lock. That it isn't is a fault only
// if the user has set lock_on: a server has neither a logind nor a lid.
func (d *Daemon) examineAutoLock() []checkup.Check {
	if !d.presence() {
		return nil
	}
	var r control.StatusReply
	d.autoLock(&r)
	on := strings.Join(r.LockOn, ", ")
	switch {
	case r.LockOnProblem == "":
		return []checkup.Check{checkup.Fine("lock_on", "locks on %s", on)}
	case !d.o.Config.LockOnSet:
		return []checkup.Check{checkup.Fine("lock_on", "nothing tells it of %s (%s): it notices a sleep within 15 s after it", on, r.LockOnProblem)}
	}
	return []checkup.Check{checkup.Warning("lock_on",
		"Start systemd-logind (or elogind) and the system bus, or have your desktop run vigilctl lock (docs/locking.md). Until then it locks within 15 s after a sleep, and idle and max_unlocked hold.",
		"it isn't told of %s: %s", on, r.LockOnProblem)}
}

// warnAutoLock returns the warning for status, or "".
func (d *Daemon) warnAutoLock(r *control.StatusReply) string {
	if r.LockOnProblem == "" || !d.o.Config.LockOnSet {
		return ""
	}
	return fmt.Sprintf("Nothing tells vigild of %s (%s): vigilctl doctor says what remains.", strings.Join(r.LockOn, ", "), r.LockOnProblem)
}
