package prompt

import "golang.org/x/sys/unix"

const (
	getTermios    = unix.TIOCGETA
	setTermios    = unix.TIOCSETAF // discards what was typed for a prompt that is gone
	setTermiosNow = unix.TIOCSETA  // without waiting until the output is written
)

// flushRead is FREAD of sys/fcntl.h.
const flushRead = 1

// flushInput discards what was typed, but not read.
func flushInput(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, flushRead) }
