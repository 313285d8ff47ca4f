package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/control"
)

// TestAPipeInPlaceOfTheVaultFile doesn't block anything.
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
		t.Fatalf("what was loaded isn't usable: %v", err)
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

// TestStateThatCantBeLockedKeepsNobodyOut: the device state is for later; the keys
// are needed now.
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
	for _, lock := range locks { // a folder in its place can't be opened for writing, even by root
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
