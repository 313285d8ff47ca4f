package sshtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds the wait for what vigild does by itself. It is far above what
// that takes, for machines that do other things at the same time.
const patience = 3 * time.Minute

// vaultFile is where the default vault's file lies in a home.
const vaultFile = "data/vigil/vaults/default/vault.jsonl"

// Home is a user's home with a vigild of its own: what a device is to Vigil.
type Home struct {
	testing.TB
	Dir   string
	Env   []string // what the programs of this home have beside the tests' own environment
	Pass  string   // file that holds the passphrase
	Agent *Agent   // the vigild that was started last
}

// NewHome makes a home in which nothing runs. It is removed when the test ends.
func NewHome(t testing.TB, passphrase string, env ...string) *Home {
	t.Helper()
	h := &Home{TB: t, Dir: NewDir(t)}
	h.Env = append(VigilEnvironment(h.Dir), env...)
	h.Pass = h.Write("pass", passphrase+"\n")
	return h
}

// NewDir makes a directory whose path is short enough for sockets to lie below
// it. It is removed when the test ends.
func NewDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(World(), "w"), "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Start starts vigild; it is stopped when the test ends. Its log is shown if the
// test has failed then.
func (h *Home) Start() {
	h.Helper()
	h.StartAs(Binary(h, "vigild"))
}

// StartAs is Start by a command that becomes vigild.
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

// Path is where a file of this home lies.
func (h *Home) Path(name string) string { return filepath.Join(h.Dir, name) }

// VaultFile is the path of the default vault's file.
func (h *Home) VaultFile() string { return h.Path(vaultFile) }

// Write writes a file of this home, with the folders above it, and returns its path.
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

// Read reads a file, which must be there.
func (h *Home) Read(path string) []byte {
	h.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return text
}

// TakeVaultFile brings the default vault's file of another home here, as good
// sync tools do it: it is there whole or not at all.
func (h *Home) TakeVaultFile(from *Home) {
	h.Helper()
	next := h.Write(vaultFile+".new", string(from.Read(from.VaultFile())))
	if err := os.Rename(next, h.VaultFile()); err != nil {
		h.Fatal(err)
	}
}

// Eventually waits until ok says nothing.
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
		time.Sleep(50 * time.Millisecond) // vigild does it by itself; nothing says when
	}
}
