package sandbox

import (
	"fmt"
	"runtime"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"vigil/internal/guard"
)

// maxFiles is the limit on a keeper's descriptors: its sockets to the front, the
// runtime's own, and one at a time for growing guarded memory.
const maxFiles = 64

// Apply sandboxes all threads of the process. It fails if a part that every kernel
// has is refused; then a keeper must not continue. The keeper makes the first segment
// of its guarded memory before Apply, to distinguish a low lock limit from the
// sandbox; growing it later is allowed.
func Apply() (Report, error) {
	var r Report
	// The first timer makes the runtime create its epoll and eventfd descriptors,
	// which the filter forbids.
	time.Sleep(time.Nanosecond)
	if _, err := guard.Harden(); err != nil {
		return r, err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: maxFiles, Max: maxFiles}); err != nil {
		return r, fmt.Errorf("limit descriptors to %d: %w", maxFiles, err)
	}
	var err error
	if r.Landlock, err = restrictAccess(); err != nil {
		return r, err
	}
	if r.Landlock == 0 {
		r.Missing = append(r.Missing, "Landlock")
	}
	if err := loadFilter(); err != nil {
		return r, err
	}
	r.Seccomp = true
	return r, nil
}

// restrictAccess enters a Landlock domain in which no path, port or peer is
// allowed, and returns the ABI version it was made with, 0 without Landlock.
func restrictAccess() (int, error) {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi <= 0 {
		return 0, nil // not in this kernel, or disabled at boot
	}
	// Best effort: everything that this kernel's ABI supports.
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return 0, fmt.Errorf("restrict access with Landlock: %w", err)
	}
	return abi, nil
}

// loadFilter sets no-new-privileges and the seccomp filter on all threads.
func loadFilter() error {
	// Both must first be set on the same thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return load(filter(unix.Getpid()))
}
