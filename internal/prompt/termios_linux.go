package prompt

import "golang.org/x/sys/unix"

const (
	getTermios    = unix.TCGETS
	setTermios    = unix.TCSETSF // discards what was typed for a prompt that is gone
	setTermiosNow = unix.TCSETS  // without waiting until the output is written
)

// flushInput discards what was typed, but not read.
func flushInput(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }
