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

// Slept is how much of BootTime the machine slept, to within the time between the readings
// of two clocks. On macOS CLOCK_UPTIME_RAW stops during sleep.
func Slept() time.Duration {
	var awake unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_UPTIME_RAW, &awake); err != nil {
		return 0
	}
	return BootTime() - time.Duration(awake.Nano())
}
