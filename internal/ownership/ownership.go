// Package ownership tells whether anyone but this user and root can replace a program,
// or a file in a folder.
//
//	ownership.go   the rule, as OpenSSH's safe_path has it
//	group.go       groups without other members
package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"vigil/internal/printable"
)

// An Error says which file or folder others can change.
type Error struct {
	Message string
	Next    string // what to do, or ""
}

func (e *Error) Error() string { return e.Message }

// Next returns what to do about an *Error that err is or wraps, or "".
func Next(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Next
	}
	return ""
}

// install is the advice for a program that isn't what it should be.
const install = "Install Vigil again, or rebuild it with `make build`."

// Program returns an *Error unless path is absolute and names a regular file that, like
// its folder, nobody but this user and root can change. A program that sees passphrases
// is started only then.
func Program(path string) error {
	if !filepath.IsAbs(path) {
		return &Error{fmt.Sprintf("program %q isn't named by an absolute path", path), install}
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{fmt.Sprintf("there is no %s in %q", filepath.Base(path), filepath.Dir(path)), install}
	case err != nil:
		return &Error{fmt.Sprintf("look at program: %v", err), install}
	case !info.Mode().IsRegular():
		return &Error{fmt.Sprintf("%q is not a file, but a folder, a symbolic link or the like", path), install}
	}
	if err := Check(path, info); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if info, err = os.Stat(dir); err != nil {
		return &Error{fmt.Sprintf("look at program: %v", err), install}
	}
	return Check(dir, info)
}

// System returns an error unless path is a regular file that, like every folder above it,
// belongs to root, is no link, and can't be replaced by anyone else: a program of the
// system. It wraps fs.ErrNotExist if there is none.
func System(path string) error {
	for part := path; ; part = filepath.Dir(part) {
		info, err := os.Lstat(part)
		if err != nil {
			return fmt.Errorf("look at program: %w", err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode()
		switch {
		case part == path && !mode.IsRegular():
			return &Error{fmt.Sprintf("%q is not a file, but a folder, a symbolic link or the like", path), ""}
		case part != path && !mode.IsDir():
			return &Error{fmt.Sprintf("%q, in which %q is, is a symbolic link", part, path), ""}
		case !ok || st.Uid != 0 || mode.Perm()&0o022 != 0 && (part == path || mode&fs.ModeSticky == 0):
			return &Error{fmt.Sprintf("%q can be changed by others than root", part), "Install OpenSSH's package again."}
		}
		if part == filepath.Dir(part) {
			return nil
		}
	}
}

// Check returns an *Error unless path belongs to root or this user and nobody else can
// write to it. info is what Stat or Lstat returned for path. A group that has no other
// member is nobody else: with umask 002, usual where each user has such a group, it may
// write to everything. In a folder with the sticky bit others can make files, but not
// replace one.
func Check(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return &Error{fmt.Sprintf("%q belongs to another user", path), "Use one of your own or of root."}
	case mode.IsDir() && mode&fs.ModeSticky != 0:
		return nil
	case mode.Perm()&0o002 != 0, mode.Perm()&0o020 != 0 && !ownGroup(st.Gid):
		return &Error{fmt.Sprintf("%q can be written by another user", path), "`chmod go-w " + printable.Word(path) + "`"}
	}
	return nil
}
