// Package logfile keeps a daemon's log small: it rotates the file when it is full,
// and limits how often a client can cause the same message.
package logfile

import (
	"fmt"
	"io"
	"os"
	"sync"

	"vigil/internal/durable"
)

const (
	// MaxSize is the size, in bytes, at which the file is rotated.
	MaxSize = 1 << 20
	// Older is the suffix of the rotated file, which replaces the previous one.
	Older = ".1"
)

// File is the log of a process whose standard error is the same file, opened to
// append: there may be no other place to report an error. A full file is copied and
// truncated, not renamed, so that every descriptor stays valid, including the one
// that a crash's trace goes to.
type File struct {
	mu   sync.Mutex
	f    *os.File
	path string
	size int64
}

// New returns the log at path, on which f is open. It fails if f is another file.
// The caller keeps and closes f.
func New(f *os.File, path string) (*File, error) {
	open, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("use log: %w", err)
	}
	there, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("use log: %w", err)
	}
	if !os.SameFile(open, there) || !open.Mode().IsRegular() {
		return nil, fmt.Errorf("use log %q: standard error is another file", path)
	}
	return &File{f: f, path: path, size: open.Size()}, nil
}

// Write appends one line, and first rotates the file if it would be too large.
func (l *File) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(line)) > MaxSize && l.size > 0 {
		if err := l.putAside(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(line)
	l.size += int64(n)
	return n, err
}

// putAside copies the file and truncates it. It truncates it even if the copy fails:
// a log that grows without limit is worse than one that lost its past.
func (l *File) putAside() error {
	copyErr := copyFile(l.path, l.path+Older)
	if err := l.f.Truncate(0); err != nil {
		return fmt.Errorf("empty log: %w", err)
	}
	l.size = 0
	if copyErr != nil {
		n, _ := fmt.Fprintf(l.f, "the log before this was lost: %v\n", copyErr)
		l.size = int64(n)
	}
	return nil
}

// copyFile copies from, up to a limit, to a new file to, with mode 0600.
func copyFile(from, to string) error {
	in, err := durable.OpenRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Remove(to); err != nil && !os.IsNotExist(err) {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, 2*MaxSize))
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}
