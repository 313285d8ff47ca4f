package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxFile is the most bytes that Update reads of a file, and ReadGeneration of an
// earlier one: what a vault file may have, and nothing else here comes near it.
const MaxFile = 256 << 20

var (
	// ErrNotAFile reports a path at which there is something else than a regular file.
	ErrNotAFile = errors.New("not a regular file")
	// ErrTooLarge reports a file that has more bytes than its kind may have.
	ErrTooLarge = errors.New("too large")
)

// OpenRegular opens a file for reading. Whoever can write to its folder could put
// a named pipe there, which holds up who opens it, or a device without end: these
// wrap ErrNotAFile. It is looked at once it's open, so nothing can be swapped in
// between.
func OpenRegular(path string) (*os.File, error) { return openRegular(path, 0) }

// OpenOwn is OpenRegular for a file that must not be reached by a link: one with a
// secret, whose owner and mode the caller checks.
func OpenOwn(path string) (*os.File, error) { return openRegular(path, syscall.O_NOFOLLOW) }

func openRegular(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC|flags, 0)
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EOPNOTSUPP) { // a socket, on Linux and on macOS
		err = notAFile(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notAFile(path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func notAFile(path string) error { return &fs.PathError{Op: "read", Path: path, Err: ErrNotAFile} }

// ReadFile reads the regular file at path, through links, as it is within limit
// bytes. One that has more wraps ErrTooLarge, and isn't read where its size says so.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, limit)
}

// Read is ReadFile for a file that is open.
func Read(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size <= limit {
		// Room for what it has, and to see that there is no more: it may grow.
		buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
		if size, err = buf.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
			return nil, err
		}
		if size <= limit {
			return buf.Bytes(), nil
		}
	}
	return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("%w: it may have %d bytes", ErrTooLarge, limit)}
}

// openFolder opens a folder, and nothing else.
func openFolder(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
