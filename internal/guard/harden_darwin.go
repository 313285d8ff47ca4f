package guard

import "golang.org/x/sys/unix"

func undumpable() bool { return false }

// denyAttach makes ptrace(PT_ATTACH) of this process fail.
func denyAttach() error { return unix.PtraceDenyAttach() }
