package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps every descriptor but the standard ones from programs that are started.
func closeOnExec() { _ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) }
