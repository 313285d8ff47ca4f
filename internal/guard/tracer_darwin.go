package guard

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pTraced is P_TRACED of sys/proc.h.
const pTraced = 0x800

// tracerOf returns the process id of a process's tracer, or 0: macOS makes a
// tracer the parent of the process it traces.
func tracerOf(pid int) (int, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if errors.Is(err, unix.EIO) && pid != os.Getpid() {
		return 0, nil // it has ended
	}
	if err != nil || info.Proc.P_flag&pTraced == 0 {
		return 0, err
	}
	return int(info.Eproc.Ppid), nil
}

func describe(pid int) (int, string) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return pid, ""
	}
	return pid, unix.ByteSliceToString(info.Proc.P_comm[:])
}

// Watch looks for a tracer of its own process.
type Watch struct{}

// NewWatch returns a Watch.
func NewWatch() (*Watch, error) { return &Watch{}, nil }

// Untraced is UntracedSelf.
func (*Watch) Untraced() error { return UntracedSelf() }
