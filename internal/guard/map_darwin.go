package guard

import "golang.org/x/sys/unix"

// mapGuarded maps n bytes, a multiple of the page size, and locks them; a granule less is
// the caller's. macOS has no way to keep root or a debugger out of them.
func mapGuarded(_ Kind, n int) (mem []byte, kind Kind, unmap func() error, err error) {
	mem, unmap, err = mapLocked(n)
	return mem, LockedMemory, unmap, err
}

// keepFromChildren does nothing: Go starts programs without a moment in which a child
// has this process's memory and runs anything.
func keepFromChildren([]byte) {}

// lockLimit returns the soft limit in bytes.
func lockLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim)
	return lim.Cur, err
}

// mayLockAll reports whether this process is exempt from the lock limit.
func mayLockAll() bool { return false }
