package prompt

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETSF // discards what was typed for a prompt that is gone
)
