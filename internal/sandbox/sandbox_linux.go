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

// maxFiles bounds the descriptors of a keeper: its sockets to the front, what
// the runtime has open, and one at a time for growing guarded memory.
const maxFiles = 64

// Apply sandboxes the process, all threads of it. It fails when a part that every
// kernel has is refused; a keeper must not go on then. Before it, the keeper
// makes its guarded memory's first segment, so that a lock limit that is too low
// is told apart from a sandbox; growing it later is allowed.
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
		return 0, nil // not in this kernel, or switched off at boot
	}
	// Best effort: everything that this kernel's ABI knows.
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return 0, fmt.Errorf("restrict access with Landlock: %w", err)
	}
	return abi, nil
}

// loadFilter sets no-new-privileges and the seccomp filter on all threads.
func loadFilter() error {
	// Both are first set on one thread, which must be the same.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return load(filter(unix.Getpid()))
}
