package unixsock

import (
	"math"

	"golang.org/x/sys/unix"
)

// CloseOnExec makes all open descriptors but the standard ones close-on-exec, because
// a shell may have left any of them open.
func CloseOnExec() {
	if unix.CloseRange(firstFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		closeLowOnExec() // Linux before 5.11
	}
}
