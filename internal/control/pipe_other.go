//go:build !linux

package control

import (
	"os"

	"golang.org/x/sys/unix"
)

func isPipe(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}
