package guard

import "golang.org/x/sys/unix"

func undumpable() bool {
	v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return err == nil && v == 0
}

// denyAttach restricts /proc/PID/mem and ptrace to root.
func denyAttach() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
