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

// MaxFile is the largest file, in bytes, that Update and ReadGeneration read: the
// largest vault file. No other file of Vigil comes near it.
const MaxFile = 256 << 20

var (
	// ErrNotAFile reports a path that is not a regular file.
	ErrNotAFile = errors.New("not a regular file")
	// ErrTooLarge reports a file that is larger than its limit.
	ErrTooLarge = errors.New("too large")
)

// OpenRegular opens a regular file for reading. Anything else, such as a named pipe,
// which would block, or a device, wraps ErrNotAFile. The check is made on the open
// file, so nothing can be swapped in between. The caller closes the file.
func OpenRegular(path string) (*os.File, error) { return openRegular(path, 0) }

// OpenOwn is OpenRegular without following a link, for a file with a secret, whose
// owner and mode the caller checks.
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

// ReadFile reads the regular file at path, following links. If it has more than
// limit bytes, the error wraps ErrTooLarge.
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
		// Leave room to detect the end of the file without growing the buffer.
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

// openFolder opens a folder, and fails for anything else.
func openFolder(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
