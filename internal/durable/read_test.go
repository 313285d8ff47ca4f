package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyRegularFilesAreRead: a pipe holds nobody up, and neither it nor a folder
// is taken for an empty file.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir} {
		if f, err := OpenRegular(path); !errors.Is(err, ErrNotAFile) || f != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := OpenRegular(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestReadUpTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]string{9: "12345", 5: "12345", 4: "12345", 3: "1234", 0: "1"} {
		f, err := OpenRegular(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadUpTo(f, limit); err != nil || string(got) != want {
			t.Errorf("limit %d: %q, %v", limit, got, err)
		}
		_ = f.Close()
	}
}
