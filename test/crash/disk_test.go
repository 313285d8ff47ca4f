//go:build linux && amd64

package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk lets a disk run full under a vault, with more or less room left
// for the next change.
func TestFullDisk(t *testing.T) {
	disk := os.Getenv(smallDisk)
	if disk == "" {
		t.Skip("only root can mount a small disk; TestErrorAtEveryStep fails each step as a full one does")
	}
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 0))
	h := newHome(t, disk)
	h.start(false)
	h.init()
	for n := range 6 {
		if r := h.generate(fmt.Sprintf("k-%d", n)); r.code != 0 {
			t.Fatal(r)
		}
	}
	var saved, refused int
	for round := 0; round < max(10, 100 / *errs); round++ {
		left := rng.IntN(24) << 10
		h.fill(disk, left)
		n := h.ledger.size()
		r := operations[rng.IntN(len(operations))].run(h, n)
		switch {
		case r.code == 0:
			saved++
		case !strings.Contains(r.errors, "no space left"):
			t.Errorf("%d bytes left: %v: doesn't say that the disk is full", left, r)
		default:
			refused++
		}
		h.verify(false)
		if err := os.Remove(h.path("filler")); err != nil {
			t.Fatal(err)
		}
		if r := h.generate(fmt.Sprintf("l-%d", n)); r.code != 0 {
			t.Fatalf("with room again: %v", r)
		}
		if r := h.remove(fmt.Sprintf("l-%d", n)); r.code != 0 {
			t.Fatalf("with room again: %v", r)
		}
		h.restart(false)
	}
	t.Logf("%d changes were saved on a nearly full disk, %d refused", saved, refused)
	if refused == 0 {
		t.Error("the disk was never full")
	}
}

// TestFolderReplaced puts another folder with the same content in place of the
// vault's, or the keyring's, under a running daemon: what is written later is in
// the new one.
func TestFolderReplaced(t *testing.T) {
	t.Parallel()
	h := newHome(t, worlds())
	h.start(false)
	h.init()
	for n, dir := range []string{filepath.Dir(h.vaultFile()), h.path("data", "vigil", "keyrings", "default")} {
		name := fmt.Sprintf("k-%d", n)
		if r := h.generate(name); r.code != 0 {
			t.Fatal(r)
		}
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(dir+".old")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.event = "another folder in place of " + dir
		if r := h.edit(name, "written to the new folder"); r.code != 0 {
			t.Fatal(r)
		}
		if r := h.generate(name + "-new"); r.code != 0 {
			t.Fatal(r)
		}
		if err := os.RemoveAll(dir + ".old"); err != nil {
			t.Fatal(err)
		}
		h.verify(false)
		h.restart(false)
	}
}

// fill leaves about that many bytes on the disk.
func (h *home) fill(disk string, left int) {
	h.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(disk, &st); err != nil {
		h.t.Fatal(err)
	}
	n := max(0, int(st.Bavail)*int(st.Bsize)-left)
	err := os.WriteFile(h.path("filler"), make([]byte, n), 0o600)
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		h.t.Fatal(err)
	}
}
