package control

import (
	"os"

	"golang.org/x/sys/unix"
)

// isPipe reports whether f is a kernel pipe. It avoids fstat(2), which a file system
// can block.
func isPipe(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
	return err == nil
}
