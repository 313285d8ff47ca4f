package logind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"vigil/internal/config"
)

// follow connects to logind and tells of what it says until the connection or ctx ends.
func (w *Watcher) follow(ctx context.Context) (connected bool, _ error) {
	if err := supported(); err != nil {
		return false, err
	}
	b, err := connect(ctx, w.address, w.uid)
	if err != nil {
		return false, err
	}
	defer b.close()
	f := &follower{Watcher: w, bus: b}
	defer f.release()
	if err := f.begin(ctx); err != nil {
		return false, err
	}
	now := time.NewTicker(w.looks)
	defer now.Stop()
	for {
		w.setProblem(f.uninhibited)
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-b.conn.Context().Done():
			return true, errEnded
		case <-b.signals.overflow:
			return true, errTooMany
		case s := <-b.signals.list:
			err = f.heard(ctx, s)
		case <-b.signals.changed:
			err = f.look(ctx)
		case <-now.C:
			w.noticeSleep(ctx)
			if f.uninhibited != nil {
				f.inhibit(ctx)
			}
			err = f.look(ctx) // no signal tells of a session that closes while its processes go on
		}
		if err != nil {
			return true, err
		}
	}
}

// follower is a watcher that is connected to logind.
type follower struct {
	*Watcher
	bus         *bus
	inhibitor   *os.File // nil: the machine's sleep isn't delayed
	uninhibited error    // why it isn't
}

// begin looks at what may have happened before the connection, and delays the next sleep.
func (f *follower) begin(ctx context.Context) error {
	if f.wants(config.LockOnSuspend) {
		var sleeping bool
		if err := f.bus.get(ctx, managerPath, managerType, "PreparingForSleep", &sleeping); err != nil {
			return fmt.Errorf("ask logind whether the machine goes to sleep: %w", err)
		}
		if sleeping {
			f.tell(ctx, config.LockOnSuspend)
		} else {
			f.inhibit(ctx)
		}
	}
	return f.look(ctx)
}

// inhibit delays the machine's next sleep.
func (f *follower) inhibit(ctx context.Context) {
	f.release()
	f.inhibitor, f.uninhibited = f.bus.inhibit(ctx, f.address, f.uid)
}

// release lets the machine sleep.
func (f *follower) release() {
	if f.inhibitor != nil {
		_ = f.inhibitor.Close()
		f.inhibitor = nil
	}
}

// heard tells what a signal means.
func (f *follower) heard(ctx context.Context, s *dbus.Signal) error {
	switch s.Name {
	case busName + ".NameOwnerChanged":
		if name, _ := argument[string](s, 0); name == logindName {
			return errLeft
		}
	case managerType + ".PrepareForSleep":
		if !f.wants(config.LockOnSuspend) {
			return nil
		}
		// After a sleep again: what was unlocked meanwhile.
		f.tell(ctx, config.LockOnSuspend)
		f.clocks = f.read()
		if before, ok := argument[bool](s, 0); ok && before {
			f.release()
		} else {
			f.inhibit(ctx)
		}
	case sessionType + ".Lock":
		return f.screenLocked(ctx, s.Path)
	}
	return nil
}

// argument returns an argument of a signal, if it has the type.
func argument[T any](s *dbus.Signal, i int) (value T, ok bool) {
	if i >= len(s.Body) {
		return value, false
	}
	value, ok = s.Body[i].(T)
	return value, ok
}

// screenLocked tells that a session's screen is locked or to be locked, if it is one of
// this user's.
func (f *follower) screenLocked(ctx context.Context, session dbus.ObjectPath) error {
	if !f.wants(config.LockOnScreenLock) {
		return nil
	}
	var of struct {
		UID  uint32
		Path dbus.ObjectPath
	}
	err := f.bus.get(ctx, session, sessionType, "User", &of)
	switch {
	case vanished(err):
		return nil
	case err != nil:
		return fmt.Errorf("ask logind whose session is locked: %w", err)
	case of.UID == f.uid:
		f.tell(ctx, config.LockOnScreenLock)
	}
	return nil
}

// look compares the user's sessions with those last seen, and tells of what is over. The
// first look only sees.
func (f *follower) look(ctx context.Context) error {
	if !f.wants(config.LockOnLogout, config.LockOnScreenLock) {
		return nil
	}
	now, err := f.sessions(ctx)
	if err != nil {
		return fmt.Errorf("ask logind for this user's sessions: %w", err)
	}
	before := f.seen
	f.seen = &now
	if before == nil {
		return nil
	}
	if before.present && !now.present {
		f.tell(ctx, config.LockOnLogout)
	}
	if slices.ContainsFunc(now.locked, func(s dbus.ObjectPath) bool { return !slices.Contains(before.locked, s) }) {
		f.tell(ctx, config.LockOnScreenLock)
	}
	return nil
}

// sessions asks about the user's sessions. State leaves out what is no login, such as the
// session of the user's manager, and sessions that are closing.
func (f *follower) sessions(ctx context.Context) (now state, _ error) {
	var user dbus.ObjectPath
	err := f.bus.call(ctx, managerPath, managerType+".GetUser", f.uid).Store(&user)
	if vanished(err) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	var text string
	var list []struct {
		ID   string
		Path dbus.ObjectPath
	}
	if err := errors.Join(f.bus.get(ctx, user, userType, "State", &text), f.bus.get(ctx, user, userType, "Sessions", &list)); err != nil {
		if vanished(err) {
			err = nil
		}
		return now, err
	}
	now.present = text == "active" || text == "online" || text == "opening"
	for _, s := range list {
		var hint bool
		if err := f.bus.get(ctx, s.Path, sessionType, "LockedHint", &hint); err != nil && !vanished(err) {
			return now, err
		}
		if hint {
			now.locked = append(now.locked, s.Path)
		}
	}
	return now, nil
}

// vanished reports that a user or a session isn't there any more.
func vanished(err error) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Name {
	case logindName + ".NoSuchUser", logindName + ".NoSuchSession", "org.freedesktop.DBus.Error.UnknownObject":
		return true
	}
	return false
}
