package daemon

import "golang.org/x/sys/unix"

// maxInherited is the highest descriptor that is looked at; shells give low ones.
const maxInherited = 256

// closeOnExec keeps what vigild inherited, such as a shell's open files, from
// keepers and openers: those get the descriptors that are meant for them only.
func closeOnExec() {
	for fd := 3; fd < maxInherited; fd++ {
		unix.CloseOnExec(fd)
	}
}
