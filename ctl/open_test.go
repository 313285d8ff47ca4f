package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"vigil/internal/durable"
)

// TestPipesAreTakenWhenTheyAreOpen: <(command) and standard input are accepted; a
// named pipe, on which the command could block, isn't.
func TestPipesAreTakenWhenTheyAreOpen(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	a := &app{stdin: r}
	f, err := a.openFile(fmt.Sprintf("/dev/fd/%d", r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	for _, path := range []string{"-", "/dev/stdin"} {
		f, err := a.openFile(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		_ = f.Close()
	}
	pipe := filepath.Join(t.TempDir(), "id_ed25519")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.openFile(pipe); !errors.Is(err, durable.ErrNotAFile) {
		t.Errorf("a named pipe: %v", err)
	}
	if _, ok := inspectKeyFile(pipe); ok {
		t.Error("a pipe was found to be a private key")
	}
}
