// Package file keeps a keyring in a directory, for the devices of one machine.
//
// An object is a file, and its version is the SHA-256 of its content, so a
// version stays valid if the file is restored from a backup or copied to another
// disk. Writers take a lock (flock) and replace the file atomically and durably;
// readers need no lock. Replaced generations are kept in .history beside the file
// (package durable), so that a person can restore them; DropPrevious deletes them.
//
// Devices must not share the directory by a sync tool or a network file system:
// flock doesn't work across devices. Use backend/s3 for that.
package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"vigil/internal/backend"
	"vigil/internal/durable"
	"vigil/internal/fault"
)

const (
	// lockTimeout limits the wait for the lock. A writer holds it for a few
	// fsyncs; a writer that holds it this long is waiting for its disk.
	lockTimeout = 10 * time.Second

	// lockName is the name of the lock file, which is never removed.
	lockName = "lock"
)

// Store is a keyring in a directory. It holds no open file and no state, so it
// needs no closing, and may be used by several goroutines at once.
type Store struct {
	dir string
}

var _ backend.Store = (*Store)(nil)

// New returns the store in dir, an absolute path. The first Put creates the
// directory with mode 0700.
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
		return nil, "", failure("get", object, fault.ErrNotModified)
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
		return "", failure("put", object, fault.ErrTooLarge)
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return "", failure("put", object, err)
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return "", failure("put", object, err)
	}
	version, err := s.swap(object, data, expect)
	if err := errors.Join(err, lock.Release()); err != nil {
		return "", failure("put", object, err)
	}
	return version, nil
}

// swap replaces an object's content; the caller holds the lock.
func (s *Store) swap(object backend.Object, data []byte, expect backend.Version) (backend.Version, error) {
	path := filepath.Join(s.dir, string(object))
	current, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if expect != "" {
			return "", fault.ErrConflict
		}
	case err != nil:
		return "", err
	case versionOf(current) != expect:
		return "", fault.ErrConflict
	case bytes.Equal(current, data):
		return expect, nil
	}
	if err := durable.Replace(path, data, durable.Options{Keep: true}); err != nil {
		return "", err
	}
	return versionOf(data), nil
}

// probe is the object of Probe.
const probe backend.Object = "probe"

// Probe checks the store with an object of its own. See [backend.Store].
func (s *Store) Probe(ctx context.Context) error {
	const op = "probe"
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return failure(op, probe, err)
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return failure(op, probe, err)
	}
	path := filepath.Join(s.dir, string(probe))
	err = durable.Replace(path, []byte("vigil\n"), durable.Options{})
	if err == nil {
		_, err = read(path)
	}
	if err := errors.Join(err, lock.Release()); err != nil {
		return failure(op, probe, err)
	}
	return nil
}

// Retention returns how many replaced contents package durable keeps.
func (s *Store) Retention(context.Context) (backend.Retention, error) {
	return backend.Retention{Versioned: true, Generations: durable.KeepNewest, Days: durable.KeepDays}, nil
}

// DropPrevious deletes the kept generations of an object. A caller that removed
// an item calls it once the new deks is stored: until then the item's DEKs are
// still on disk.
func (s *Store) DropPrevious(ctx context.Context, object backend.Object) error {
	if err := object.Validate(); err != nil {
		return err
	}
	lock, err := s.lock(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no directory, so no generations
	}
	if err != nil {
		return failure("drop generations of", object, err)
	}
	if err := errors.Join(s.drop(object), lock.Release()); err != nil {
		return failure("drop generations of", object, err)
	}
	return nil
}

func (s *Store) drop(object backend.Object) error {
	generations, err := durable.History(filepath.Join(s.dir, string(object)))
	if err != nil {
		return err
	}
	for _, g := range generations {
		err := durable.Remove(filepath.Join(s.dir, durable.HistoryDir, g.Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lock takes the writers' lock.
func (s *Store) lock(ctx context.Context) (*durable.Lock, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	return durable.AcquireLock(ctx, filepath.Join(s.dir, lockName))
}

// read returns a file's content. It refuses anything but a regular file, and
// content beyond the limit.
func read(path string) ([]byte, error) {
	data, err := durable.ReadFile(path, backend.MaxObject)
	if errors.Is(err, durable.ErrTooLarge) {
		return nil, fault.ErrTooLarge
	}
	return data, err
}

func versionOf(data []byte) backend.Version {
	sum := sha256.Sum256(data)
	return backend.Version(hex.EncodeToString(sum[:]))
}

// failure returns a *fault.Error for an error of the file system or this package.
func failure(op string, object backend.Object, err error) error {
	e := &fault.Error{Of: backend.Name, Op: op + " " + string(object)}
	for _, kind := range []error{fault.ErrNotModified, fault.ErrConflict, fault.ErrTooLarge} {
		if errors.Is(err, kind) {
			e.Kind = kind
			return e
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Err = fault.ErrNotFound, err
	case errors.Is(err, syscall.EROFS):
		e.Kind, e.Err, e.Next = fault.ErrDenied, err, fault.NextAfter(err)
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Err = fault.ErrDenied, err
		e.Next = "Make the keyring's directory writable for your user."
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Err = fault.ErrUnreachable, err
		e.Next = "Free some space on the disk of the keyring's directory and try again; nothing was changed."
	case errors.Is(err, durable.ErrLocked), errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Err = fault.ErrUnreachable, fmt.Errorf("wait for the keyring's lock: %w", err)
		e.Next = "Another process holds the keyring's lock; see which with lsof, and try again."
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE):
		e.Kind, e.Err, e.Next = fault.ErrUnreachable, err, fault.NextAfter(err)
	default:
		e.Kind, e.Err, e.Next = fault.ErrMisconfigured, err, fault.NextAfter(err)
	}
	return e
}
