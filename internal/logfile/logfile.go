// Package logfile keeps a daemon's log small: in a file that is put aside when it
// is full, and with a limit on how often a client can make it say the same.
package logfile

import (
	"fmt"
	"io"
	"os"
	"sync"

	"vigil/internal/durable"
)

const (
	// MaxSize is how many bytes the file has before it is put aside.
	MaxSize = 1 << 20
	// Older is added to its name then; what was put aside before is gone.
	Older = ".1"
)

// File is the log of a process whose standard error was opened on it, to append:
// by then there may be no place for a complaint but that. A full one is copied
// and emptied rather than renamed, so that all who have it open go on in it, a
// crash's trace included.
type File struct {
	mu   sync.Mutex
	f    *os.File
	path string
	size int64
}

// New returns the log at path, which f is open on; f stays the caller's. It is an
// error if they aren't the same file.
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

// Write appends one line, and first puts the file aside when it would be too large.
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

// putAside copies the file and empties it. Whatever fails, it is emptied: a log
// that grows for ever is worse than one that lost its past.
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

// copyFile makes a new file to, for the user alone, with what from has, up to a limit.
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
