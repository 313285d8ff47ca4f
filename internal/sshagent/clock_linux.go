package sshagent

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since boot, with the time the machine slept.
func bootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Since(processStart)
	}
	return time.Duration(t.Nano())
}

// processStart stands in for boot where the kernel has no such clock.
var processStart = time.Now()
