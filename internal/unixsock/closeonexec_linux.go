package unixsock

import (
	"math"

	"golang.org/x/sys/unix"
)

// CloseOnExec keeps every descriptor but the standard ones from the programs
// that are started from now on: a shell may have left any open.
func CloseOnExec() {
	if unix.CloseRange(firstFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		closeLowOnExec() // Linux before 5.11
	}
}
