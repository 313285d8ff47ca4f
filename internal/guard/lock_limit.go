package guard

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// LockLimitError reports that the process may not lock as much memory as it
// needs. The limit to raise is RLIMIT_MEMLOCK.
type LockLimitError struct {
	Need uint64 // bytes
	Have uint64 // the soft limit in bytes
}

// Error returns what the limit is and how to raise it.
func (e *LockLimitError) Error() string {
	state := "is"
	if e.Have >= e.Need {
		state = "is used up:"
	}
	return fmt.Sprintf("lock %d KiB of memory: the limit %s %d KiB; raise RLIMIT_MEMLOCK "+
		"(ulimit -l, LimitMEMLOCK= in a systemd unit, memlock in /etc/security/limits.conf)",
		(e.Need+1023)/1024, state, e.Have/1024)
}

// CheckLockLimit returns a [*LockLimitError] if the lock limit is below need bytes.
// It doesn't count memory that is already locked: the kernel takes that into
// account only when more is locked.
func CheckLockLimit(need int) error {
	have, err := lockLimit()
	if err != nil {
		return fmt.Errorf("read the limit on locked memory: %w", err)
	}
	if uint64(need) > have && !mayLockAll() {
		return &LockLimitError{Need: uint64(need), Have: have}
	}
	return nil
}

// lockError turns the error of a refused mapping of n bytes into a *LockLimitError
// if the limit may have been the reason.
func lockError(n int, err error) error {
	if err == unix.EAGAIN || err == unix.ENOMEM || err == unix.EPERM {
		if have, err := lockLimit(); err == nil && have != unix.RLIM_INFINITY {
			return &LockLimitError{Need: uint64(n), Have: have}
		}
	}
	return fmt.Errorf("map %d bytes of guarded memory: %w", n, err)
}
