package guard

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapGuarded maps n bytes, a multiple of the page size, of the best kind up to best.
func mapGuarded(best Kind, n int) ([]byte, Kind, error) {
	if best == SecretMemory {
		mem, err := mapSecret(n)
		if err == nil {
			return mem, SecretMemory, nil
		}
		// Any error but the lock limit means that the kernel lacks memfd_secret or has
		// it disabled, or that a container forbids it; locked memory works all the same.
		var limit *LockLimitError
		if errors.As(err, &limit) {
			return nil, "", err
		}
	}
	mem, err := mapLocked(n)
	return mem, LockedMemory, err
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

// mapLocked maps n bytes of anonymous memory that is never swapped, dumped or
// inherited.
func mapLocked(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, lockError(n, err)
	}
	// mlock2 with MLOCK_ONFAULT locks pages as they are touched; mlock would make
	// all of them resident at once.
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(&mem[0])), uintptr(n), unix.MLOCK_ONFAULT)
	if errno == 0 {
		err = unix.Madvise(mem, unix.MADV_DONTDUMP)
	} else {
		err = lockError(n, errno)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	_ = unix.Madvise(mem, unix.MADV_DONTFORK)
	return mem, nil
}

// lockLimit returns the soft limit in bytes. It uses prlimit, not getrlimit, so
// that a sandbox can distinguish reading from setting.
func lockLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &lim)
	return lim.Cur, err
}

func unmap(mem []byte) error { return unix.Munmap(mem) }

// mayLockAll reports whether this process is exempt from the lock limit.
func mayLockAll() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
