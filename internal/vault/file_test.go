package vault

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"vigil/internal/durable"
)

func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	pipe, link, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(file, []byte("content"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, "/dev/zero"} {
		if _, err := readVaultFile(path); !errors.Is(err, durable.ErrNotAFile) {
			t.Fatalf("%s: %v", path, err)
		}
	}
	for _, path := range []string{file, link} {
		if data, err := readVaultFile(path); err != nil || string(data) != "content" {
			t.Fatalf("%s: %q, %v", path, data, err)
		}
	}
	if _, err := readVaultFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}
