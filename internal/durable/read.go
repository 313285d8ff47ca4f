package durable

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotAFile reports a path at which there is something else than a regular file.
var ErrNotAFile = errors.New("not a regular file")

// OpenRegular opens a file for reading. Whoever can write to its folder could put
// a named pipe there, which holds up who opens it, or a device without end: both
// wrap ErrNotAFile.
func OpenRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: ErrNotAFile}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ReadUpTo reads what a file has, and of one that has more than limit bytes
// limit+1, by which the caller sees it.
func ReadUpTo(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Room for what it has, and to see that there is no more.
	buf := bytes.NewBuffer(make([]byte, 0, min(info.Size(), limit)+bytes.MinRead))
	_, err = buf.ReadFrom(io.LimitReader(f, limit+1))
	return buf.Bytes(), err
}
