package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/testing/sshtest"
	"vigil/internal/vaultfile"
)

// breakFile corrupts the vault file after its first line, and returns a function that
// repairs it.
func (dev *device) breakFile() (mend func()) {
	dev.t.Helper()
	path := dev.paths.Vault("default")
	good, err := os.ReadFile(path)
	if err != nil {
		dev.t.Fatal(err)
	}
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			dev.t.Fatal(err)
		}
	}
	write(append(good[:len(good):len(good)], vaultfile.Header(id.Vault{9})...))
	return func() { write(good) }
}

// TestABrokenVaultFileIsShown while it is broken; the keys stay usable.
func TestABrokenVaultFileIsShown(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	mend := dev.breakFile()
	sshtest.Eventually(t, "status tells of it", func() error {
		if s := dev.status(); !strings.Contains(s.Problem, "belongs to vault") || s.Next == "" || s.State != control.VaultUnlocked {
			return errors.New("status says " + s.Problem)
		}
		return nil
	})
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatal(err)
	}
	mend()
	sshtest.Eventually(t, "status is content again", func() error {
		if s := dev.status(); s.Problem != "" {
			return errors.New("status says " + s.Problem)
		}
		return nil
	})
}

// TestABrokenVaultFileKeepsNoRevocationAway: breaking the file must not keep a device
// unlocked whose access was revoked.
func TestABrokenVaultFileKeepsNoRevocationAway(t *testing.T) {
	a := newDevice(t)
	a.init("")
	a.generate("work")
	b := a.beside("b")
	b.unlock()
	must(a, &control.PassphraseRequest{Passphrase: text(t, passphrase), NewPassphrase: text(t, "another passphrase")})
	b.breakFile()
	if r := must(b, &control.RefreshRequest{}).Vaults[0]; r.Error == nil {
		t.Fatal("a refresh without access reports success")
	}
	if s := b.status(); s.State == control.VaultUnlocked {
		t.Fatalf("still unlocked: %+v", s)
	}
	if err := sign(b.agent(), b.listed()[0]); err == nil {
		t.Fatal("its keys sign")
	}
}

// breakState makes the device state of the vault unable to keep a keyring.
func (dev *device) breakState() {
	dev.t.Helper()
	names, err := dev.d.state.Names()
	if err != nil {
		dev.t.Fatal(err)
	}
	blocked := filepath.Join(dev.root, "file")
	dev.blockedBy(blocked)
	file := filepath.Join(dev.paths.State, "vaults", names["default"].String(), "keyring.json")
	if err := errors.Join(os.Remove(file), os.Symlink(filepath.Join(blocked, "below"), file)); err != nil {
		dev.t.Fatal(err)
	}
}

// TestAProblemOfTheDeviceStateStays: a refresh that finds nothing else doesn't hide it.
func TestAProblemOfTheDeviceStateStays(t *testing.T) {
	dev := deviceOf(t)
	dev.configure("[vault.default]\nrefresh = \"1s\"\n")
	dev.start()
	dev.init("")
	dev.breakState()
	dev.generate("work")
	before, since := dev.problem(), *dev.status().LastRefresh
	until(t, "a refresh", func() bool { return dev.status().LastRefresh.After(since) })
	sshtest.Eventually(t, "the refresh is over", func() error {
		if goroutinesIn("vault.(*Vault).refreshUnattended") > 0 {
			return errors.New("it runs")
		}
		return nil
	})
	if s := dev.status(); s.Problem != before.Error() {
		t.Errorf("status shows the problem %q, and showed %v before", s.Problem, before)
	}
}
