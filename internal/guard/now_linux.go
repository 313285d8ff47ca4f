package guard

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadNow is read(2) on a descriptor that doesn't block, without telling Go's
// scheduler; on one that may block it would hold up others. It costs half of what
// unix.Read does, and more is saved by it: in a program that was idle, the first
// system call that the scheduler hears of wakes the thread that watches over
// such calls, and so did two for each signature.
func ReadNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_READ, fd, b)
}

// WriteNow is write(2), as ReadNow is read(2).
func WriteNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_WRITE, fd, b)
}

func now(call uintptr, fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
