package main

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETSF // discards what was typed ahead, as readpassphrase(3) does
)
