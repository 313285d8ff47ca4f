package unixsock_test

import "golang.org/x/sys/unix"

// becomeNobody changes the credentials of this thread alone.
func becomeNobody() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, 65534, 65534, 65534); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
		return errno
	}
	return nil
}
