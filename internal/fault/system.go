package fault

import (
	"errors"
	"io/fs"
	"syscall"
)

// causes are what the system refuses, and what a person does about it. The first that
// an error is decides.
var causes = []struct {
	err  error
	next string
}{
	{syscall.ENOSPC, "The disk is full: make space on it, then run the command again."},
	{syscall.EDQUOT, "Your quota on that disk is used up: remove files, then run the command again."},
	{syscall.EFBIG, "The file would be larger than `ulimit -f` allows: raise it, then run the command again."},
	{syscall.EROFS, "That file system is read-only: mount it writable, or name a place on another."},
	{syscall.EMFILE, "Too many files are open in this process: raise `ulimit -n`, then run the command again."},
	{syscall.ENFILE, "Too many files are open on this machine: end some programs, then run the command again."},
	{syscall.ENOMEM, "Memory is short: end some programs, then run the command again."},
	{syscall.EIO, "The disk reports an error: the system's log says more. Save what is on it."},
	{syscall.ENOTDIR, "A part of that path is a file and not a folder: check the path."},
	{syscall.EISDIR, "That is a folder: name a file."},
	{syscall.ELOOP, "Symbolic links of that path lead in a circle: check the path."},
	{syscall.ENAMETOOLONG, "That path is too long: name a shorter one."},
	{fs.ErrPermission, "You may not use it: check the owner and the mode, of its folders too (ls -ld)."},
	{fs.ErrNotExist, "There is nothing at that path: check its spelling, and that each of its folders exists."},
}

// NextAfter returns what to do about the system's error that err wraps, or "".
func NextAfter(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.next
		}
	}
	return ""
}
