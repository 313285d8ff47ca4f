// Package logind tells when the owner of this session has gone: the machine goes to
// sleep, the screen is locked, the last session has ended. It learns that from
// systemd-logind or elogind, org.freedesktop.login1 on the system bus.
//
// A user's service belongs to no session, so it follows all of its user's. What is sent to
// this process in logind's name by another is ignored: any user may send signals.
// Without logind, as on macOS, only a sleep is noticed, by clocks, after it.
//
//	logind.go   connecting again and again, and what is noticed without logind
//	follow.go   what logind says
//	bus.go      a connection to the bus
package logind

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"vigil/internal/clock"
	"vigil/internal/config"
)

const (
	// firstPause and mostPause bound the time between two connections, which doubles: what
	// is restarted misses little, and what is never there costs little.
	firstPause = 100 * time.Millisecond
	mostPause  = time.Minute
	// lookEvery is how late a sleep is noticed without logind, counted from when the machine
	// is awake again.
	lookEvery = 15 * time.Second
	// leastSleep is how far two clocks are apart after a sleep at least. Neither is ever
	// set, and both are slewed alike.
	leastSleep = time.Second
)

var (
	errStarted = errors.New("vigild has only just started")
	errNoMacOS = errors.New("macOS has no logind")
)

// Watcher watches one user's sessions.
type Watcher struct {
	address string // of the system bus
	uid     uint32
	log     *slog.Logger
	boot    func() time.Duration // time since boot with suspends; replaced in tests
	pause   time.Duration        // the first one; replaced in tests
	looks   time.Duration        // how often it looks at what no signal tells; replaced in tests

	events []config.LockEvent
	gone   func(context.Context, config.LockEvent)
	seen   *state // of the user, as last seen; nil: never
	clocks clocks // as last looked at

	mu      sync.Mutex
	problem error
}

// state is what a change of means that the owner has gone.
type state struct {
	present bool              // the user has a session that isn't closing
	locked  []dbus.ObjectPath // the sessions whose screens are locked
}

// New returns a watcher of the sessions of the user uid. environ, in the form of
// os.Environ, may have the address of the system bus.
func New(environ []string, uid int, log *slog.Logger) *Watcher {
	w := &Watcher{address: defaultAddress, uid: uint32(uid), log: log, boot: clock.BootTime, pause: firstPause, looks: mostPause, problem: errStarted}
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, "DBUS_SYSTEM_BUS_ADDRESS="); ok && value != "" {
			w.address = value
		}
	}
	return w
}

// Problem returns why the watcher isn't told of every event now, or nil.
func (w *Watcher) Problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem
}

// setProblem logs that logind is lost, and found again. That there is none is for status
// and doctor to say.
func (w *Watcher) setProblem(err error) {
	w.mu.Lock()
	before := w.problem
	w.problem = err
	w.mu.Unlock()
	switch {
	case err != nil && before == nil:
		w.log.Warn("not told any more when to lock", "events", w.events, "err", err)
	case err == nil && before != nil && before != errStarted:
		w.log.Info("told when to lock", "events", w.events)
	}
}

// Watch calls gone after each of events, one at a time, until ctx ends. The machine
// doesn't sleep before gone has returned, for as long as logind delays it (5 s unless its
// InhibitDelayMaxSec says otherwise). It may be called once.
func (w *Watcher) Watch(ctx context.Context, events []config.LockEvent, gone func(context.Context, config.LockEvent)) {
	w.events, w.gone = events, gone
	w.clocks = w.read()
	pause := w.pause
	for ctx.Err() == nil {
		connected, err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		w.setProblem(err)
		if connected {
			pause = w.pause
		}
		w.wait(ctx, pause)
		pause = min(2*pause, mostPause)
	}
}

// wants reports whether any of events is one to tell of.
func (w *Watcher) wants(events ...config.LockEvent) bool {
	return slices.ContainsFunc(events, func(e config.LockEvent) bool { return slices.Contains(w.events, e) })
}

// tell calls gone if e is an event to tell of.
func (w *Watcher) tell(ctx context.Context, e config.LockEvent) {
	if w.wants(e) {
		w.gone(ctx, e)
	}
}

// wait waits, and notices a sleep meanwhile.
func (w *Watcher) wait(ctx context.Context, pause time.Duration) {
	for pause > 0 && ctx.Err() == nil {
		w.noticeSleep(ctx)
		step := min(pause, lookEvery)
		timer := time.NewTimer(step)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause -= step
	}
}

// clocks are two clocks at one moment. They can't be read at once: this process may wait in
// between.
type clocks struct {
	boot          time.Duration // counts while the machine sleeps
	before, after time.Time     // before and after boot was read; their monotonic readings don't
}

func (w *Watcher) read() (c clocks) {
	c.before = time.Now()
	c.boot = w.boot()
	c.after = time.Now()
	return c
}

// slept returns how long the machine has slept between two moments at least.
func slept(from, to clocks) time.Duration { return to.boot - from.boot - to.after.Sub(from.before) }

// noticeSleep tells of a sleep since the last call.
func (w *Watcher) noticeSleep(ctx context.Context) {
	now, before := w.read(), w.clocks
	w.clocks = now
	if slept(before, now) >= leastSleep {
		w.tell(ctx, config.LockOnSuspend)
	}
}

// supported is nil where there may be a logind.
func supported() error {
	if runtime.GOOS == "darwin" {
		return errNoMacOS
	}
	return nil
}
