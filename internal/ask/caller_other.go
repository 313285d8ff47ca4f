//go:build !linux

package ask

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// CallerOf looks at a process. Whether it is in its terminal's foreground isn't known here.
func CallerOf(pid int) Caller {
	session, err := unix.Getsid(pid)
	if err != nil {
		return Caller{Origin: fmt.Sprintf("process %d", pid)}
	}
	return Caller{Origin: fmt.Sprintf("session %d", session)}
}
