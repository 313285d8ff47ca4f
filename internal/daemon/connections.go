package daemon

import (
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/internal/unixsock"
)

const (
	// maxConnections bounds the agent connections: thousands of sessions may have
	// one, and each costs about 15 KiB.
	maxConnections = 8192
	// descriptorsKept is how many descriptors agent connections leave for the rest:
	// control connections and their files, openers, keepers, files.
	descriptorsKept = 256
)

// mostConnections returns how many agent connections the limit on descriptors allows.
func mostConnections() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return maxConnections
	}
	files := int(min(limit.Cur, 2*maxConnections))
	return min(maxConnections, max(files-descriptorsKept, files/2))
}

// agentConn is a connection to the agent that records its use.
type agentConn struct {
	*unixsock.Stream
	guest *unixsock.Guest
}

// Read implements io.Reader.
func (c agentConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n > 0 {
		c.guest.Busy(false)
	}
	return n, err
}
