package config

import (
	"fmt"
	"slices"
)

// LockEvent is something that locks every vault and drops the added keys.
type LockEvent string

// The events of lock_on.
const (
	LockOnSuspend    LockEvent = "suspend"     // before the machine sleeps
	LockOnLogout     LockEvent = "logout"      // the user's last session has ended
	LockOnScreenLock LockEvent = "screen-lock" // a session of the user's is locked
)

// DefaultLockOn holds what locks unless the configuration says otherwise. A machine that
// sleeps can be carried away. Work that goes on after a logout or behind a locked screen,
// on a server most of all, would fail.
var DefaultLockOn = []LockEvent{LockOnSuspend}

// lockOn checks lock_on, or sets its default.
func lockOn(user *file, top *userFile) error {
	if !user.meta.IsDefined("lock_on") {
		top.LockOn = slices.Clone(DefaultLockOn)
	}
	for i, e := range top.LockOn {
		switch e {
		case LockOnSuspend, LockOnLogout, LockOnScreenLock:
		default:
			return user.at(fmt.Errorf("lock_on has %.40q: it may have %q, %q and %q", e, LockOnSuspend, LockOnLogout, LockOnScreenLock), "lock_on")
		}
		if slices.Contains(top.LockOn[:i], e) {
			return user.at(fmt.Errorf("lock_on has %q twice", e), "lock_on")
		}
	}
	return nil
}
