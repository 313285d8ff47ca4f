package vault

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/vaultfile"
)

// TestAVaultFileHasALimit: what would make it unreadable isn't written.
func TestAVaultFileHasALimit(t *testing.T) {
	v := New(&Device{}, config.Vault{Name: "default"})
	if err := v.fits(vaultfile.MaxFile); err != nil {
		t.Error(err)
	}
	e := control.AsError(v.fits(vaultfile.MaxFile + 1))
	if e == nil || e.Message != `the file of vault "default" would have 268435457 bytes and may have 268435456` ||
		e.Next != "Remove keys that aren't used, or lines that aren't yours: vigilctl vault stats." {
		t.Errorf("got %+v", e)
	}
}

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
