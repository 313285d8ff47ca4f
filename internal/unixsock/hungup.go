package unixsock

import (
	"net"

	"golang.org/x/sys/unix"
)

// HungUp reports whether the peer of a connection has closed its end. It reads nothing.
func HungUp(c *net.UnixConn) (gone bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: hangup}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&hangup != 0
	})
	return gone || err != nil
}
