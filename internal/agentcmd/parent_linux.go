package agentcmd

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// parentGone returns a channel that is closed when the process pid, this one's
// parent, has ended, or ctx has; nil for pid 0. A pidfd reports the end at once;
// before Linux 5.10, the parent is polled.
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
		// The descriptor is readable once the process has ended. The number is
		// checked as well: it may have been reused before the descriptor was opened.
		_ = c.Read(func(uintptr) bool { return os.Getppid() != pid })
		_ = f.Close()
	}()
	return gone
}
