package sshtest

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread runs f on a thread without children, which ends with it, as ptrace needs:
// all of that belongs to one thread. Whoever waits there for all children would wait
// for others' too, and take their ends from them: those that the thread started
// before, and on the first thread those that lost their parent.
func OnOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		const look = unix.WEXITED | unix.WNOWAIT | unix.WNOHANG | unix.WALL | unix.WNOTHREAD
		if unix.Gettid() != os.Getpid() && unix.Waitid(unix.P_ALL, 0, nil, look, nil) == unix.ECHILD {
			f()
			return // and the thread isn't unlocked
		}
		defer runtime.UnlockOSThread()
		found := make(chan struct{})
		OnOwnThread(func() { close(found); f() }) // on another one, as this is taken
		<-found
	}()
}
