package ipc

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"vigil/internal/ownership"
)

// aboveFiles is above the numbers of the descriptors that a child inherits: they are put
// in place before it is executed, and must not replace the program's.
const aboveFiles = 100

// hold opens the program at path, which nobody but this user and root can change. It can't
// be read (mode 0111), and needn't be.
func hold(path string) (*os.File, error) {
	if err := ownership.Program(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, aboveFiles)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(high), path)
	info, err := f.Stat() // of what was opened, not of what was looked at
	if err == nil {
		err = ownership.Check(path, info)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// withPath calls f with a path of the held program, which stays open meanwhile.
func withPath(held *os.File, f func(path string) error) (err error) {
	raw, err := held.SyscallConn()
	if err != nil {
		return err
	}
	if refused := raw.Control(func(fd uintptr) { err = f(fmt.Sprintf("/proc/self/fd/%d", fd)) }); refused != nil {
		return refused
	}
	return err
}
