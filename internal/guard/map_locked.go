package guard

import (
	"errors"
	"sync"

	"github.com/awnumar/memguard"
	"golang.org/x/sys/unix"
)

// locking makes one step of a trial and the lock that it is for. The lock limit is the
// process's, so all slabs share it.
var locking sync.Mutex

// mapLocked maps n bytes, a multiple of the page size, in one LockedBuffer: pages that are
// never swapped or dumped, between two that fault. The first granule is the buffer's
// canary, the rest is mem. unmap wipes them, and panics if the canary has changed: then
// something wrote past the end of memory, and this process must not go on.
func mapLocked(n int) (mem []byte, unmap func() error, err error) {
	locking.Lock()
	defer locking.Unlock()
	if err := tryLock(n); err != nil {
		return nil, nil, err
	}
	b := memguard.NewBuffer(n - granule)
	keepFromChildren(b.Inner())
	return b.Bytes(), func() error { b.Destroy(); return nil }, nil
}

// tryLock locks n bytes and lets them go. Where the kernel refuses them, memguard would
// wipe every secret of this process, and panic: who can add keys could destroy the others.
func tryLock(n int) error {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return lockError(n, err)
	}
	if err = unix.Mlock(mem); err != nil {
		err = lockError(n, err)
	}
	return errors.Join(err, unix.Munmap(mem))
}
