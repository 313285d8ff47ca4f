package guard

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mapGuarded maps n bytes, a multiple of the page size, of anonymous memory and
// locks it. macOS has no way to keep root or a debugger out of it.
func mapGuarded(_ Kind, n int) ([]byte, Kind, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, "", lockError(n, err)
	}
	if err := unix.Mlock(mem); err != nil {
		return nil, "", errors.Join(lockError(n, err), unix.Munmap(mem))
	}
	return mem, LockedMemory, nil
}

// lockLimit returns the soft limit in bytes.
func lockLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim)
	return lim.Cur, err
}

func unmap(mem []byte) error { return unix.Munmap(mem) }

// mayLockAll reports whether this process is exempt from the lock limit.
func mayLockAll() bool { return false }
