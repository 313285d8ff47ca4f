// Package file keeps a keyring in a directory, for the devices of one machine.
//
// An object is a file, and its version is the SHA-256 of its content, so a
// version stays valid however the file came back: restored from a backup or
// copied to another disk. Writers take a lock (flock) and replace the file
// atomically and durably; readers need no lock. The last generations that were
// replaced stand in a directory beside it, for a person to go back to.
//
// The directory must not be shared by a sync tool or a network file system
// between devices: flock doesn't reach that far. Use backend/s3 for that.
package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"vigil/internal/backend"
)

const (
	// Generations is how many replaced contents of each object are kept.
	Generations = 3

	// lockRetry is how often a writer looks whether the lock is free. A
	// writer holds it for a few fsyncs.
	lockRetry = 5 * time.Millisecond

	// lockTimeout limits the wait for the lock. Whoever holds it this long is
	// stuck on its disk.
	lockTimeout = 10 * time.Second

	lockName     = "lock"
	previousName = "previous"
)

// Store is a keyring in a directory. It holds no open file and no state, so it
// needs no closing, and may be used by several goroutines at once.
type Store struct {
	dir string
}

var _ backend.Store = (*Store)(nil)

// New returns the store in dir, an absolute path. The directory is made, 0700,
// by the first Put.
func New(dir string) *Store { return &Store{dir: dir} }

// Get reads an object. See [backend.Store].
func (s *Store) Get(ctx context.Context, object backend.Object, have backend.Version) ([]byte, backend.Version, error) {
	if err := object.Validate(); err != nil {
		return nil, "", err
	}
	if err := ctx.Err(); err != nil {
		return nil, "", failure("get", object, err)
	}
	data, err := read(filepath.Join(s.dir, string(object)))
	if err != nil {
		return nil, "", failure("get", object, err)
	}
	version := versionOf(data)
	if version == have {
		return nil, "", failure("get", object, backend.ErrNotModified)
	}
	return data, version, nil
}

// Put replaces an object. See [backend.Store].
func (s *Store) Put(ctx context.Context, object backend.Object, data []byte, expect backend.Version) (backend.Version, error) {
	if err := object.Validate(); err != nil {
		return "", err
	}
	if len(data) == 0 {
		return "", fmt.Errorf("put %s: refused to store an empty object", object)
	}
	if len(data) > backend.MaxObject {
		return "", failure("put", object, backend.ErrTooLarge)
	}
	if err := makeDir(s.dir); err != nil {
		return "", failure("put", object, err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", failure("put", object, err)
	}
	defer unlock()

	path := filepath.Join(s.dir, string(object))
	current, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if expect != "" {
			return "", failure("put", object, backend.ErrConflict)
		}
	case err != nil:
		return "", failure("put", object, err)
	case versionOf(current) != expect:
		return "", failure("put", object, backend.ErrConflict)
	case bytes.Equal(current, data):
		return expect, nil
	default:
		if err := s.keep(object, current); err != nil {
			return "", failure("put", object, err)
		}
	}
	if err := replace(s.dir, string(object), data); err != nil {
		return "", failure("put", object, err)
	}
	return versionOf(data), nil
}

// Retention tells that the last Generations contents are kept.
func (s *Store) Retention(context.Context) (backend.Retention, error) {
	return backend.Retention{Versioned: true, Generations: Generations}, nil
}

// DropPrevious deletes the kept generations of an object. A caller that
// removed an item for good calls it once the new deks is stored.
func (s *Store) DropPrevious(ctx context.Context, object backend.Object) error {
	if err := object.Validate(); err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no directory, so there is nothing in it
	}
	if err != nil {
		return failure("drop previous", object, err)
	}
	defer unlock()
	for n := 1; n <= Generations; n++ {
		if err := os.Remove(s.previous(object, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure("drop previous", object, err)
		}
	}
	err = syncDir(filepath.Join(s.dir, previousName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure("drop previous", object, err)
	}
	return nil
}

func (s *Store) previous(object backend.Object, n int) string {
	return filepath.Join(s.dir, previousName, fmt.Sprintf("%s.%d", object, n))
}

// keep makes current, the object's content, generation 1 and moves the others back by
// one. A crash in between leaves a gap or one content twice, never fewer
// contents than the last Generations-1.
func (s *Store) keep(object backend.Object, current []byte) error {
	dir := filepath.Join(s.dir, previousName)
	if err := makeDir(dir); err != nil {
		return err
	}
	for n := Generations - 1; n >= 1; n-- {
		err := os.Rename(s.previous(object, n), s.previous(object, n+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Two names of one file: the replacement that follows is a rename, which
	// takes away the other one. Some file systems have no hard links.
	if os.Link(filepath.Join(s.dir, string(object)), s.previous(object, 1)) == nil {
		return syncDir(dir)
	}
	return replace(dir, filepath.Base(s.previous(object, 1)), current)
}

// lock takes the writers' lock. The returned function releases it.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	l := flock.New(filepath.Join(s.dir, lockName), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, lockRetry); err != nil {
		_ = l.Close()
		return nil, err
	}
	// Closing the descriptor releases the lock, so an error there leaves
	// nothing to do.
	return func() { _ = l.Close() }, nil
}

// read returns a file's content. It refuses what is no regular file, and
// content beyond the limit.
func read(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hold us up.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, backend.MaxObject+1))
	if err != nil {
		return nil, err
	}
	if len(data) > backend.MaxObject {
		return nil, backend.ErrTooLarge
	}
	return data, nil
}

func versionOf(data []byte) backend.Version {
	sum := sha256.Sum256(data)
	return backend.Version(hex.EncodeToString(sum[:]))
}

// failure sorts an error of the file system or of this package.
func failure(op string, object backend.Object, err error) error {
	e := &backend.Error{Op: op, Object: object}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Err = backend.ErrNotFound, err
	case errors.Is(err, backend.ErrNotModified), errors.Is(err, backend.ErrConflict), errors.Is(err, backend.ErrTooLarge):
		e.Kind = err
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind, e.Err = backend.ErrDenied, err
		e.Next = "make the keyring's directory writable for your user"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Err = backend.ErrUnreachable, err
		e.Next = "free some space on the disk of the keyring's directory and try again; nothing was changed"
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Err = backend.ErrUnreachable, fmt.Errorf("wait for the keyring's lock: %w", err)
		e.Next = "another process holds the keyring's lock; see which with lsof, and try again"
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE):
		e.Kind, e.Err = backend.ErrUnreachable, err
	default:
		e.Kind, e.Err = backend.ErrMisconfigured, err
	}
	return e
}
