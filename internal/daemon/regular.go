package daemon

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"vigil/internal/vaultfile"
)

var errNotAFile = errors.New("not a regular file")

// readVaultFile reads a vault file, or a copy of one. Whoever can write to its
// folder could put a named pipe there, which holds up who opens it, or a device
// without end: neither is read. What is larger than a vault file may be is cut
// right behind that, so that parsing it says so.
func readVaultFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errNotAFile}
	}
	return io.ReadAll(io.LimitReader(f, vaultfile.MaxFile+1))
}
