package sshagent

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since boot, with the time the machine slept: on
// macOS CLOCK_MONOTONIC goes on in sleep.
func bootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return time.Since(processStart)
	}
	return time.Duration(t.Nano())
}

// processStart stands in for boot should the kernel refuse.
var processStart = time.Now()
