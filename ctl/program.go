package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"vigil/internal/control"
	"vigil/internal/printable"
)

// program is a program of the user's, run in the working folder.
type program struct {
	path    string // absolute
	environ []string
}

// findProgram returns a program from the PATH, never from the working folder.
func (a *app) findProgram(name, install string) (*program, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, control.Errorf(control.CodeFailed, install, "%s isn't on the PATH", name)
	}
	// Its messages are compared, so they must be in English.
	return &program{path, append(a.environ[:len(a.environ):len(a.environ)], "LC_ALL=C")}, nil
}

// run returns what the program prints. Its error has what it says first, and wraps an
// *exec.ExitError if it ran.
func (p *program) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = p.environ
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	first, _, _ := strings.Cut(said.String(), "\n")
	if first = strings.TrimPrefix(strings.TrimSpace(first), "fatal: "); first == "" {
		first = err.Error()
	}
	return string(out), fmt.Errorf("%s %s: %s: %w", filepath.Base(p.path), args[0], printable.Line(first), err)
}
