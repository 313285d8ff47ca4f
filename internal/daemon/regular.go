package daemon

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"vigil/internal/vaultfile"
)

var errNotAFile = errors.New("not a regular file")

// openVaultFile opens a vault file, or a copy of one. Whoever can write to its
// folder could put a named pipe there, which holds up who opens it, or a device
// without end: neither is opened.
func openVaultFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: errNotAFile}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// readVaultFile reads a vault file, or a copy of one. What is larger than a vault
// file may be is cut right behind that, so that parsing it says so.
func readVaultFile(path string) ([]byte, error) {
	f, err := openVaultFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAllOf(f)
}

func readAllOf(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Room for what it has, and to see that there is no more.
	buf := bytes.NewBuffer(make([]byte, 0, min(info.Size(), vaultfile.MaxFile)+bytes.MinRead))
	_, err = buf.ReadFrom(io.LimitReader(f, vaultfile.MaxFile+1))
	return buf.Bytes(), err
}

// readVaultHeader reads as much of a vault file as its first line has, and tells
// whether that is all of it.
func readVaultHeader(path string) (head []byte, whole bool, err error) {
	f, err := openVaultFile(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	head, err = io.ReadAll(io.LimitReader(f, maxHeader))
	if end := bytes.IndexByte(head, '\n'); end >= 0 && end < len(head)-1 {
		return head[:end+1], false, err
	}
	return head, len(head) < maxHeader, err
}

// maxHeader is more bytes than the first line of a vault file has.
const maxHeader = 512
