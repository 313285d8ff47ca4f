package unixsock

import (
	"bytes"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// solLocal is SOL_LOCAL of sys/un.h, the level of LOCAL_PEERCRED and LOCAL_PEERPID.
const solLocal = 0

// PeerOfFD is PeerOf on a descriptor: LOCAL_PEERCRED and LOCAL_PEERPID, unix(4).
func PeerOfFD(fd int) (Peer, error) {
	cred, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("get peer credentials: %w", err)
	}
	p := Peer{UID: cred.Uid}
	if cred.Ngroups > 0 {
		p.GID = cred.Groups[0]
	}
	if pid, err := unix.GetsockoptInt(fd, solLocal, unix.LOCAL_PEERPID); err == nil {
		p.PID = pid
	}
	return p, nil
}

// Describe describes the process pid. The error says that it has ended, or that this
// process may not see it.
//
// It asks sysctl kern.proc.pid and kern.procargs2, whose value begins with the number
// of arguments and the program's path.
func Describe(pid int) (Process, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return Process{}, err
	}
	p := Process{PID: pid, Name: shown(unix.ByteSliceToString(info.Proc.P_comm[:]))}
	if args, err := unix.SysctlRaw("kern.procargs2", pid); err == nil && len(args) > 4 {
		if exe, _, ok := bytes.Cut(args[4:], []byte{0}); ok {
			p.Exe = shown(string(exe))
		}
	}
	return p, nil
}

// socket makes an unconnected unix stream socket.
func socket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

// SocketPair makes two connected stream sockets, blocking and close-on-exec.
// The caller closes both.
func SocketPair() (a, b int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make socket pair: %w", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return fds[0], fds[1], nil
}

// markCloseOnExec is set because descriptors arrive without close-on-exec.
const markCloseOnExec = true

// recvmsg receives; RecvFDs then makes the descriptors close-on-exec. A fork in
// between could inherit one: macOS can't prevent that without blocking every fork
// while recvmsg waits.
func recvmsg(fd int, buf, oob []byte) (n, oobn, flags int, err error) {
	n, oobn, flags, _, err = unix.Recvmsg(fd, buf, oob, 0)
	return n, oobn, flags, err
}

// sendFlags is 0 because the Go runtime turns SIGPIPE of a socket into EPIPE.
const sendFlags = 0
