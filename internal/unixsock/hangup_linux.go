package unixsock

import "golang.org/x/sys/unix"

// hangup is what poll(2) says of a stream whose peer sends no more.
const hangup = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR
