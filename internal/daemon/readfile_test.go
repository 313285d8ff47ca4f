package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/control"
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

// TestAPipeInPlaceOfTheVaultFile holds nothing up.
func TestAPipeInPlaceOfTheVaultFile(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	path := dev.paths.Vault("default")
	good := path + ".good"
	if err := os.Rename(path, good); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatalf("what was loaded goes on: %v", err)
	}
	dev.lock()
	err := dev.unlockWith(passphrase)
	wantCode(t, err, control.CodeFailed)
	if !strings.Contains(err.Error(), "not a regular file") {
		t.Fatalf("says %q", err)
	}
	if err := os.Rename(good, path); err != nil {
		t.Fatal(err)
	}
	dev.unlock()
}

// TestStateThatCantBeLockedKeepsNobodyOut: what this device notes down is of use
// later, the keys are of use now.
func TestStateThatCantBeLockedKeepsNobodyOut(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	dev.lock()
	locks, _ := filepath.Glob(filepath.Join(dev.paths.State, "vaults", "*", ".lock"))
	locks = append(locks, filepath.Join(dev.paths.State, ".lock"))
	if len(locks) != 2 {
		t.Fatalf("the state's locks are %q", locks)
	}
	for _, lock := range locks { // with a folder in its place it can't be opened for writing, by root neither
		if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	dev.unlock()
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatal(err)
	}
	if s := dev.status(); !strings.Contains(s.Problem, "lock") {
		t.Errorf("status says %+v", s)
	}
}
