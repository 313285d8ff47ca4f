package unixsock

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"vigil/internal/ownership"
)

// OwnFolder creates dir with mode 0700 if it is missing, and checks that only the user
// and root can put anything into it or in its place. If others can, the error wraps
// ErrUnsafe.
func OwnFolder(dir string) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("folder %q is a symbolic link: %w", dir, ErrUnsafe)
	case !info.IsDir():
		return fmt.Errorf("%q is not a folder: %w", dir, ErrUnsafe)
	case owner(info) != os.Geteuid():
		return fmt.Errorf("folder %q belongs to uid %d, not to %d: %w", dir, owner(info), os.Geteuid(), ErrUnsafe)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("folder %q has mode %04o, and others can enter it (chmod 700): %w", dir, info.Mode().Perm(), ErrUnsafe)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for _, path := range []string{dir, resolved} {
		if err := safeAbove(path); err != nil {
			return err
		}
	}
	return nil
}

// safeAbove checks every folder above path, following links: nobody but the user and
// root may be able to rename what is in it.
func safeAbove(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if err := ownership.Check(dir, info); err != nil {
			return fmt.Errorf("folder %w: %w", err, ErrUnsafe)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// owner returns the uid that a file belongs to.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
