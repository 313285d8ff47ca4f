package control

import (
	"fmt"
	"net"
	"os"
)

// peerOf returns the process at the other end of a connection, as the kernel
// recorded it when the connection was made.
func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var (
		peer    Peer
		peerErr error
	)
	if err := raw.Control(func(fd uintptr) { peer, peerErr = peerOfFD(int(fd)) }); err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	if peerErr != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", peerErr)
	}
	return peer, nil
}

// ownPeer reports whether uid may speak on the control socket: this user and root.
func ownPeer(uid int) bool { return uid == os.Geteuid() || uid == 0 }
