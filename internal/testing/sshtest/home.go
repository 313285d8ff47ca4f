package sshtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds the wait for what vigild does unasked. It is generous, for busy machines.
const patience = 3 * time.Minute

// vaultFile is the path of the default vault's file in a home.
const vaultFile = "data/vigil/vaults/default/vault.jsonl"

// Home is a user's home with its own vigild: Vigil's view of a device.
type Home struct {
	testing.TB
	Dir   string
	Env   []string // added to the tests' own environment
	Pass  string   // passphrase file
	Agent *Agent   // the vigild started last
}

// NewHome makes a home without processes. It is removed when the test ends.
func NewHome(t testing.TB, passphrase string, env ...string) *Home {
	t.Helper()
	h := &Home{TB: t, Dir: NewDir(t)}
	h.Env = append(VigilEnvironment(h.Dir), env...)
	h.Pass = h.Write("pass", passphrase+"\n")
	return h
}

// NewDir makes a directory with a path short enough for sockets in it. It is removed
// when the test ends.
func NewDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(World(), "w"), "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Start starts vigild and stops it when the test ends. If the test has failed, it
// shows vigild's log.
func (h *Home) Start() {
	h.Helper()
	h.StartAs(Binary(h, "vigild"))
}

// StartAs is Start with a command that executes vigild.
func (h *Home) StartAs(command string) {
	h.Helper()
	a, err := StartVigild(h.Dir, command, h.Env...)
	if err != nil {
		h.Fatal(err)
	}
	h.Agent = a
	h.Cleanup(func() {
		if err := a.Close(); err != nil {
			h.Error(err)
		}
		if log, err := os.ReadFile(a.LogFile); err == nil && h.Failed() {
			h.Logf("log of vigild in %s:\n%s", filepath.Base(h.Dir), log)
		}
	})
}

// Restart restarts vigild.
func (h *Home) Restart() {
	h.Helper()
	if err := h.Agent.Close(); err != nil {
		h.Fatal(err)
	}
	h.Start()
}

// Path returns the path of a file in this home.
func (h *Home) Path(name string) string { return filepath.Join(h.Dir, name) }

// VaultFile returns the path of the default vault's file.
func (h *Home) VaultFile() string { return h.Path(vaultFile) }

// Write writes a file of this home, with its parent folders, and returns its path.
func (h *Home) Write(name, text string) string {
	h.Helper()
	path := h.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	return path
}

// Read reads a file, which must exist.
func (h *Home) Read(path string) []byte {
	h.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return text
}

// TakeVaultFile copies another home's default vault file here atomically, as good
// sync tools do.
func (h *Home) TakeVaultFile(from *Home) {
	h.Helper()
	next := h.Write(vaultFile+".new", string(from.Read(from.VaultFile())))
	if err := os.Rename(next, h.VaultFile()); err != nil {
		h.Fatal(err)
	}
}

// Eventually waits until ok returns nil.
func Eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond) // vigild does it unasked, and nothing reports when
	}
}
