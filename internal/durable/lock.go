package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// ErrLocked reports a lock that another process, or another holder in this one,
// still held when the context ended.
var ErrLocked = errors.New("in use by another process")

// lockRetry is how often a held lock is tried again: flock(2) can wait, but
// not until a context ends.
const lockRetry = 10 * time.Millisecond

// Lock is an exclusive lock between processes: flock(2) on a file that stays in
// place when the lock is released. The system releases it when the process ends.
type Lock struct{ f *flock.Flock }

// AcquireLock takes the lock with the file path, which it creates with mode 0600 if
// it is missing. It waits until ctx ends; then the error wraps ErrLocked and ctx's
// error. Even with an ended ctx it takes a free lock. Two calls in one process
// exclude each other too. The folder must exist. If the lock file can't be created,
// the error is a *WriteError, as for the write that it protects.
func AcquireLock(ctx context.Context, path string) (*Lock, error) {
	for {
		f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW), flock.SetPermissions(0o600))
		ok, err := f.TryLock()
		if err != nil {
			f.Close()
			return nil, &WriteError{Path: path, Step: "lock", Err: err}
		}
		if ok {
			// The folder may have been replaced while waiting; then this
			// lock doesn't exclude later callers.
			mine, err := f.Stat()
			now, nowErr := os.Lstat(path)
			if err == nil && nowErr == nil && os.SameFile(mine, now) {
				return &Lock{f: f}, nil
			}
		}
		f.Close()
		if err := pause(ctx, lockRetry); err != nil {
			return nil, fmt.Errorf("lock %q: %w (%w)", path, ErrLocked, err)
		}
	}
}

// pause waits for d, or returns ctx's error when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Release releases the lock. The file stays: removing it would let two processes
// hold locks on two files with the same name. Releasing twice is harmless.
func (l *Lock) Release() error {
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("release lock %q: %w", l.f.Path(), err)
	}
	return nil
}

// maxNote is the longest note that a lock file is read for, in bytes.
const maxNote = 16 << 10

// Note writes text, of up to 16 KiB, into the lock file, for Holder. It isn't synced: it
// means nothing once the lock is released.
func (l *Lock) Note(text []byte) error {
	if err := os.WriteFile(l.f.Path(), text, 0o600); err != nil {
		return &WriteError{Path: l.f.Path(), Step: "write", Err: err}
	}
	return nil
}

// Holder reports whether another holder has the lock with the file path, and returns
// what it noted: nothing if it hasn't yet, and at worst a part. It makes no file, and
// holds a free lock for a moment, shared.
func Holder(path string) (note []byte, held bool) {
	f := flock.New(path, flock.SetFlag(os.O_RDONLY|unix.O_NOFOLLOW))
	defer f.Close()
	if free, err := f.TryRLock(); err != nil || free {
		return nil, false
	}
	note, _ = ReadFile(path, maxNote)
	return note, true
}
