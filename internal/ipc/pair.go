package ipc

import (
	"net"
	"os"

	"vigil/internal/unixsock"
)

// Pair makes connected stream sockets, both close-on-exec: our end, and a blocking
// one for a child process. The caller closes both.
func Pair() (ours *net.UnixConn, theirs *os.File, err error) {
	a, b, err := unixsock.SocketPair()
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(b), "socketpair")
	if ours, err = unixsock.Conn(a); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// ChildPair is Pair for two child processes that talk to each other.
func ChildPair() (one, other *os.File, err error) {
	a, b, err := unixsock.SocketPair()
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(a), "socketpair"), os.NewFile(uintptr(b), "socketpair"), nil
}
