package main

import "golang.org/x/sys/unix"

// maxInherited is the highest descriptor that is looked at; shells give low ones.
const maxInherited = 256

// closeOnExec keeps every descriptor but the standard ones from programs that are started.
func closeOnExec() {
	for fd := 3; fd < maxInherited; fd++ {
		unix.CloseOnExec(fd)
	}
}
