//go:build !linux

package unixsock

import "golang.org/x/sys/unix"

// hangup are poll(2)'s events for a stream whose peer has closed its end.
const hangup = unix.POLLHUP | unix.POLLERR
