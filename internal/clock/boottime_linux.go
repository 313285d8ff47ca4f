package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is the time since boot, suspend included. CLOCK_BOOTTIME always exists.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Slept is how much of BootTime the machine slept, to within the time between the readings
// of two clocks.
func Slept() time.Duration {
	var awake unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake); err != nil {
		return 0
	}
	return BootTime() - time.Duration(awake.Nano())
}
