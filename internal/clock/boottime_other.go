//go:build !linux

package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is the time since boot. On macOS CLOCK_MONOTONIC counts through sleep.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
