package daemon

import (
	"math"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps what vigild inherited, such as a shell's open files, from
// keepers and openers: those get the descriptors that are meant for them only.
func closeOnExec() { _ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) }
