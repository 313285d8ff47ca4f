package agentcmd

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// parentGone returns a channel that is closed when the process pid, this one's
// parent, has ended, or ctx has; nil for pid 0. Linux says at once; before Linux
// 5.10 it is noticed as elsewhere.
func parentGone(ctx context.Context, pid int) <-chan struct{} {
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return pollParent(ctx, pid)
	}
	gone := make(chan struct{})
	f := os.NewFile(uintptr(fd), "parent")
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	go func() {
		defer close(gone)
		defer stop()
		c, err := f.SyscallConn()
		if err != nil {
			return
		}
		// The descriptor is readable when the process has ended. It is looked for
		// by its number as well: the one opened may be a later one of that number.
		_ = c.Read(func(uintptr) bool { return os.Getppid() != pid })
		_ = f.Close()
	}()
	return gone
}
