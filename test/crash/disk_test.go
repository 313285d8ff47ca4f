//go:build linux && amd64

package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
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
	for round := 0; round < max(10, 100 / *every); round++ {
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
