package guard

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadNow is read(2) on a non-blocking descriptor, without notifying Go's
// scheduler; on a blocking one it would hold up other goroutines. It costs half of
// what unix.Read does. It also saves wake-ups: in an idle program, the first system
// call that the scheduler is notified of wakes its monitor thread, which happened
// twice per signature.
func ReadNow(fd int, b []byte) (int, error) {
	return now(unix.SYS_READ, fd, b)
}

// WriteNow is write(2) in the way that ReadNow is read(2).
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
