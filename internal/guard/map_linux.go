package guard

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mapGuarded maps n bytes, a multiple of the page size, of the best kind up to best. Of
// locked memory a granule less is the caller's.
func mapGuarded(best Kind, n int) (mem []byte, kind Kind, unmap func() error, err error) {
	if best == SecretMemory {
		mem, err := mapSecret(n)
		if err == nil {
			return mem, SecretMemory, func() error { return unix.Munmap(mem) }, nil
		}
		// Any error but the lock limit means that the kernel lacks memfd_secret or has
		// it disabled, or that a container forbids it; locked memory works all the same.
		var limit *LockLimitError
		if errors.As(err, &limit) {
			return nil, "", nil, err
		}
	}
	mem, unmap, err = mapLocked(n)
	return mem, LockedMemory, unmap, err
}

// mapSecret maps n bytes of memfd_secret(2). The mapping outlives the descriptor.
func mapSecret(n int) ([]byte, error) {
	// The flag is O_CLOEXEC; FD_CLOEXEC, which the manual page names, is EINVAL.
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, lockError(n, err)
	}
	_ = unix.Madvise(mem, unix.MADV_DONTFORK)
	return mem, nil
}

// keepFromChildren keeps mem out of processes that this one forks.
func keepFromChildren(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTFORK) }

// lockLimit returns the soft limit in bytes. It uses prlimit, not getrlimit, so
// that a sandbox can distinguish reading from setting.
func lockLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &lim)
	return lim.Cur, err
}

// mayLockAll reports whether this process is exempt from the lock limit.
func mayLockAll() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
