package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestWhatToDoAboutTheSystemsErrors makes the errors that a test can make, and has the
// system's number for the others.
func TestWhatToDoAboutTheSystemsErrors(t *testing.T) {
	dir := t.TempDir()
	file, loop := filepath.Join(dir, "file"), filepath.Join(dir, "loop")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(loop, loop)); err != nil {
		t.Fatal(err)
	}
	open := func(path string) error { _, err := os.Open(path); return err }
	write := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{open(filepath.Join(dir, "nothing")), "There is nothing at that path: check its spelling"},
		{open(filepath.Join(file, "below")), "A part of that path is a file and not a folder"},
		{open(loop), "Symbolic links of that path lead in a circle"},
		{open(filepath.Join(dir, strings.Repeat("x", 5000))), "That path is too long: name a shorter one."},
		{write(dir), "That is a folder: name a file."},
		{&os.PathError{Err: syscall.ENOSPC}, "The disk is full: make space on it"},
		{&os.PathError{Err: syscall.EDQUOT}, "Your quota on that disk is used up"},
		{&os.PathError{Err: syscall.EFBIG}, "The file would be larger than"},
		{&os.PathError{Err: syscall.EROFS}, "That file system is read-only: mount it writable"},
		{&os.PathError{Err: syscall.EMFILE}, "Too many files are open in this process"},
		{&os.PathError{Err: syscall.ENFILE}, "Too many files are open on this machine"},
		{&os.PathError{Err: syscall.ENOMEM}, "Memory is short: end some programs"},
		{&os.PathError{Err: syscall.EIO}, "The disk reports an error: the system's log says more."},
		{&os.PathError{Err: syscall.EPERM}, "You may not use it: check the owner and the mode"},
		{errors.New("anything else"), ""},
	} {
		if got := NextAfter(fmt.Errorf("about it: %w", tt.err)); !strings.HasPrefix(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
	if runtime.GOOS == "linux" {
		if got := NextAfter(write("/dev/full")); !strings.HasPrefix(got, "The disk is full") {
			t.Errorf("/dev/full: %q", got)
		}
	}
}
