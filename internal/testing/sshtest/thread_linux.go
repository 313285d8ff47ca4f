package sshtest

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread runs f on a thread that has no children and ends with f, as ptrace needs,
// which is per thread. A wait for all children on another thread would also take the
// ends of those that thread started before and, on the first thread, of orphans.
func OnOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		const look = unix.WEXITED | unix.WNOWAIT | unix.WNOHANG | unix.WALL | unix.WNOTHREAD
		if unix.Gettid() != os.Getpid() && unix.Waitid(unix.P_ALL, 0, nil, look, nil) == unix.ECHILD {
			f()
			return // without unlocking the thread
		}
		defer runtime.UnlockOSThread()
		found := make(chan struct{})
		OnOwnThread(func() { close(found); f() }) // on another thread, as this one is taken
		<-found
	}()
}
