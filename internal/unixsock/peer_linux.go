package unixsock

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PeerOfFD is PeerOf on a descriptor: SO_PEERCRED, unix(7).
func PeerOfFD(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("get peer credentials: %w", err)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// Describe describes the process pid. The error says that it has ended, or that this
// process may not see it.
//
// It reads /proc/PID: proc_pid_comm(5), proc_pid_exe(5). For an undumpable process or
// another user's, the link exe can't be read, but the name can.
func Describe(pid int) (Process, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	name, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return Process{}, err
	}
	exe, err := os.Readlink(dir + "/exe")
	if err != nil {
		exe = ""
	}
	exe = strings.TrimSuffix(exe, " (deleted)")
	return Process{PID: pid, Name: shown(strings.TrimSuffix(string(name), "\n")), Exe: shown(exe)}, nil
}

// socket makes an unconnected unix stream socket.
func socket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// SocketPair makes two connected stream sockets, blocking and close-on-exec.
// The caller closes both.
func SocketPair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make socket pair: %w", err)
	}
	return fds[0], fds[1], nil
}

// recvmsg receives with close-on-exec descriptors.
func recvmsg(fd int, buf, oob []byte) (n, oobn, flags int, err error) {
	n, oobn, flags, _, err = unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
	return n, oobn, flags, err
}

// markCloseOnExec is unset because MSG_CMSG_CLOEXEC has already marked them.
const markCloseOnExec = false

// sendFlags makes a lost peer an EPIPE error instead of a signal.
const sendFlags = unix.MSG_NOSIGNAL
