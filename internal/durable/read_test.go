package durable

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyRegularFilesAreRead: a pipe holds nobody up, and nothing else is taken for
// an empty file.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // short: it has a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pipe, socket, device := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket"), filepath.Join(dir, "device")
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), os.Symlink("/dev/zero", device)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{pipe, dir, socket, device} {
		if f, err := OpenRegular(path); !errors.Is(err, ErrNotAFile) || f != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := OpenRegular(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestALinkIsNotFollowedToAnOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Symlink(path, path+"2")); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenOwn(path + "2"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v, %v", f, err)
	}
	f, err := OpenOwn(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, ok := range map[int64]bool{9: true, 5: true, 4: false, 0: false} {
		got, err := ReadFile(path, limit)
		if ok && (err != nil || string(got) != "12345") || !ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d: %q, %v", limit, got, err)
		}
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 0); err != nil || got == nil {
		t.Errorf("an empty file: %v, %v", got, err)
	}
}

// TestReadIsBoundedWhereNoSizeSaysHowMuch: what is passed as a descriptor, or grows.
func TestReadIsBoundedWhereNoSizeSaysHowMuch(t *testing.T) {
	f, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Read(f, 1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestWhatIsNoFileIsNotReplaced: Update leaves alone what it can't read whole.
func TestWhatIsNoFileIsNotReplaced(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a pipe":       func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a folder":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":       func(path string) error { return os.Symlink("/dev/zero", path) },
		"a large file": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		err = Update(t.Context(), path, Options{Keep: true}, func([]byte) ([]byte, error) { return []byte("new"), nil })
		now, statErr := os.Lstat(path)
		if !errors.Is(err, ErrNotAFile) && !errors.Is(err, ErrTooLarge) || statErr != nil || !os.SameFile(before, now) {
			t.Errorf("%s: %v, %v", name, err, statErr)
		}
	}
}
