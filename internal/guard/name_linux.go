package guard

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NameProcess makes ps and pgrep show name, of which Linux keeps 15 bytes, for a
// process that was started as /proc/self/exe or /proc/self/fd/N. They show the name of the first
// thread, so main calls it before anything else; later, it may have no effect.
func NameProcess(name string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != os.Getpid() {
		return
	}
	if b, err := unix.BytePtrFromString(name); err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	}
}
