// Package durable writes files so that a crash, a full disk or a kill at any system
// call leaves either the complete old file or the complete new one, and so that
// content reported as written is on disk.
//
// Replace makes these system calls, in this order (TestReplaceTrace checks them;
// brackets: only with Keep):
//
//	openat(D/.NAME.tmp-XXXXXXXX, O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW, 0600)
//	flock(temp, LOCK_EX|LOCK_NB)                  shows that it is not a leftover
//	fchmod(temp, mode); write(temp) …; fsync(temp)
//	[mkdir(D/.history) and fsync(D), the first time]
//	[linkat(D/NAME, D/.history/NAME.TIME); fsync(D/.history)]
//	renameat(D/.NAME.tmp-XXXXXXXX, D/NAME)
//	close(temp); open(D); fsync(D); close(D)
//	[unlinkat(D/.history/…) of generations past their time]
//
// If the file already has the content, Replace only sets its mode and syncs file and
// folder.
//
// Until renameat, the file is untouched. Errors wrap the system's error, so
// errors.Is with syscall.ENOSPC, EROFS, EDQUOT and fs.ErrPermission tells what
// happened; a *WriteError also tells whether the new content is already in place.
//
// On macOS File.Sync is F_FULLFSYNC, which reaches the drive's medium.
package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrDangling reports a symbolic link to a missing file, for example in a folder
// that isn't mounted. Nothing is written: a new file there would shadow the real
// one.
var ErrDangling = errors.New("symbolic link leads to no file")

// Options configure how a file is replaced. The zero value keeps the file's mode
// and no previous generation.
type Options struct {
	// Mode is the file's permission bits; 0 keeps the present ones, and means
	// 0600 for a new file.
	Mode fs.FileMode
	// Keep keeps the replaced content as a generation in .history/ beside
	// the file: the 10 newest, then one a day for 30 days.
	Keep bool
}

// WriteError reports which step of a write failed. Unwrap returns the system's error.
type WriteError struct {
	Path string // the file that was to be written
	Step string // the system call's name: "open", "write", "fsync", "rename", …
	// Replaced is set if the new content is in place but its folder may not be
	// synced: a power failure may bring the old file back.
	Replaced bool
	Err      error
}

func (e *WriteError) Error() string {
	// The system's error names the temporary file, which means nothing to the user.
	cause := e.Err
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(cause, &pe):
		cause = pe.Err
	case errors.As(cause, &le):
		cause = le.Err
	}
	after := "the file is unchanged"
	if e.Replaced {
		after = "the new content is in place but may not survive a power cut"
	}
	return fmt.Sprintf("write %q: %s: %v (%s)", e.Path, e.Step, cause, after)
}

func (e *WriteError) Unwrap() error { return e.Err }

// Replace replaces or creates the file at path. It follows a symbolic link and
// replaces its target. When it returns nil, content, name and mode are on disk. The
// folder must exist.
//
// Concurrent calls each write a complete file, and the last rename wins; use Update
// if the new content depends on the old.
func Replace(path string, data []byte, opts Options) error {
	return replace(direct, path, data, opts)
}

// Create makes a new file at path. If anything exists there, it fails with
// fs.ErrExist and doesn't touch it. Mode 0 means 0600.
func Create(path string, data []byte, mode fs.FileMode) error {
	return create(direct, path, data, mode)
}

// Remove unlinks the file at path and syncs its folder. If there is no file, the
// error wraps fs.ErrNotExist.
func Remove(path string) error { return remove(direct, path) }

// Rename moves a file or a folder to a path that must not exist, on the same file
// system, and syncs both folders.
func Rename(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return &WriteError{Path: to, Step: "rename", Err: fs.ErrExist}
	}
	t := trace(direct)
	if err := t.do(from, "rename", func() error { return os.Rename(from, to) }); err != nil {
		return err
	}
	return errors.Join(t.syncDir(to, filepath.Dir(to)), t.syncDir(from, filepath.Dir(from)))
}

// Archive adds the content of file to the history of path, as the newest generation,
// and removes file.
func Archive(path, file string) error {
	if err := keep(direct, path, file); err != nil {
		return err
	}
	prune(path)
	return Remove(file)
}

// MkdirAll makes dir and the missing folders above it with mode, and syncs the
// parent of each folder it makes. An existing dir keeps its mode.
func MkdirAll(dir string, mode fs.FileMode) error { return mkdirAll(direct, dir, dir, mode) }

// Writable returns an error if this process may not make files in dir, or, if dir is
// missing, in the folder above it that is there. It changes nothing. A full disk is
// found only by a write.
func Writable(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		return Writable(filepath.Dir(dir))
	}
	if err != nil {
		return &WriteError{Path: dir, Step: "write to folder", Err: err}
	}
	return nil
}

// Update reads the file at path, calls change with its content (nil if there is no
// file) and replaces the file with what change returns. It holds the lock file
// path+".lock", so that updates by several processes are serialised. If change
// returns an error or a nil slice, Update writes nothing and returns the error. A
// file that isn't regular, or has more than MaxFile bytes, is left alone, and the
// error wraps ErrNotAFile or ErrTooLarge.
func Update(ctx context.Context, path string, opts Options, change func(old []byte) ([]byte, error)) error {
	lock, err := AcquireLock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer lock.Release()
	old, err := ReadFile(path, MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := change(old)
	if err != nil || data == nil {
		return err
	}
	return Replace(path, data, opts)
}

// trace is called with a step's name before each system call that changes
// something. In tests it may fail or kill the process; direct does neither.
type trace func(step string) error

func direct(string) error { return nil }

// do runs one step of the write of path and wraps its error.
func (t trace) do(path, step string, f func() error) error {
	err := t(step)
	if err == nil {
		err = f()
	}
	if err != nil {
		return &WriteError{Path: path, Step: step, Err: err}
	}
	return nil
}

func replace(t trace, path string, data []byte, opts Options) error {
	target, info, err := resolve(path)
	if err != nil {
		return err
	}
	mode := opts.Mode.Perm()
	if mode == 0 {
		mode = 0o600
		if info != nil {
			mode = info.Mode().Perm()
		}
	}
	if info != nil && same(target, info, data) {
		return resync(t, path, target, mode)
	}
	tmp, err := writeTemp(t, path, target, data, mode)
	if err != nil {
		return err
	}
	defer tmp.Close()
	err = func() error {
		if opts.Keep && info != nil {
			if err := keep(t, path, target); err != nil {
				return err
			}
		}
		return t.do(path, "rename", func() error { return os.Rename(tmp.Name(), target) })
	}()
	if err != nil {
		_ = os.Remove(tmp.Name()) // the next write removes a leftover
		return err
	}
	if err := t.syncDir(path, filepath.Dir(target)); err != nil {
		return replaced(err)
	}
	if opts.Keep {
		prune(path)
	}
	return nil
}

// same reports whether the file already holds data.
func same(path string, info fs.FileInfo, data []byte) bool {
	if info.Size() != int64(len(data)) {
		return false
	}
	old, err := ReadFile(path, int64(len(data)))
	return err == nil && string(old) == string(data)
}

// resync makes sure that a file that needs no change is on disk.
func resync(t trace, path, target string, mode fs.FileMode) error {
	f, err := OpenRegular(target)
	if err != nil {
		return &WriteError{Path: path, Step: "open", Err: err}
	}
	defer f.Close()
	// Don't chmod needlessly: it changes the file's times, which a watcher notices.
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != mode {
		if err := t.do(path, "fchmod", func() error { return f.Chmod(mode) }); err != nil {
			return err
		}
	}
	if err := t.do(path, "fsync", f.Sync); err != nil {
		return err
	}
	return t.syncDir(path, filepath.Dir(target))
}

func create(t trace, path string, data []byte, mode fs.FileMode) error {
	if mode == 0 {
		mode = 0o600
	}
	if _, err := os.Lstat(path); err == nil {
		return &WriteError{Path: path, Step: "link", Err: fs.ErrExist}
	}
	tmp, err := writeTemp(t, path, path, data, mode.Perm())
	if err != nil {
		return err
	}
	defer tmp.Close()
	// link(2) never replaces; rename(2) would.
	err = t.do(path, "link", func() error { return os.Link(tmp.Name(), path) })
	_ = os.Remove(tmp.Name())
	if err != nil {
		return err
	}
	if err := t.syncDir(path, filepath.Dir(path)); err != nil {
		return replaced(err)
	}
	return nil
}

func remove(t trace, path string) error {
	if err := t.do(path, "unlink", func() error { return os.Remove(path) }); err != nil {
		return err
	}
	if err := t.syncDir(path, filepath.Dir(path)); err != nil {
		return replaced(err)
	}
	return nil
}

// mkdirAll makes dir on behalf of a write of path.
func mkdirAll(t trace, path, dir string, mode fs.FileMode) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &WriteError{Path: path, Step: "mkdir", Err: syscall.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirAll(t, path, parent, mode); err != nil {
			return err
		}
	}
	err := t.do(path, "mkdir", func() error { return os.Mkdir(dir, mode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return t.syncDir(path, parent)
}

// resolve follows symbolic links, so that a rename replaces the file and not a
// link to it. The FileInfo is nil if there is no file yet.
func resolve(path string) (string, fs.FileInfo, error) {
	target, err := filepath.EvalSymlinks(path)
	switch {
	case err == nil:
		info, err := os.Stat(target)
		if err != nil {
			return "", nil, &WriteError{Path: path, Step: "stat", Err: err}
		}
		if !info.Mode().IsRegular() {
			return "", nil, &WriteError{Path: path, Step: "stat", Err: ErrNotAFile}
		}
		return target, info, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", nil, &WriteError{Path: path, Step: "stat", Err: err}
	}
	if _, err := os.Lstat(path); err == nil {
		return "", nil, &WriteError{Path: path, Step: "stat", Err: ErrDangling}
	}
	return path, nil, nil
}

// syncDir syncs the names in dir to disk. Some network and FUSE file systems can't
// sync a folder (EINVAL, ENOTSUP); that is not an error, because they offer no more
// than the rename itself.
func (t trace) syncDir(path, dir string) error {
	return t.do(path, "fsync folder", func() error {
		d, err := openFolder(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
			return err
		}
		return nil
	})
}

// replaced marks a *WriteError as one that happened after the change.
func replaced(err error) error {
	var we *WriteError
	if errors.As(err, &we) {
		we.Replaced = true
	}
	return err
}
