// Package program runs other programs of the user's, such as git and systemctl, for what
// they print.
package program

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"vigil/internal/printable"
)

// Program is a program on the PATH.
type Program struct {
	path    string // absolute
	environ []string
}

// Find returns the program called name with an environment. The error is exec.LookPath's:
// nothing is taken from the working folder.
func Find(name string, environ []string) (*Program, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	// What it says is compared, so it must be in English.
	return &Program{path, append(environ[:len(environ):len(environ)], "LC_ALL=C")}, nil
}

// Run runs the program in the working folder and returns what it prints. The error is
// ctx's, or has the arguments and the first line of what the program says, and wraps an
// *exec.ExitError if it ran.
func (p *Program) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = p.environ
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	if first = strings.TrimPrefix(first, "fatal: "); first == "" {
		first = err.Error()
	}
	called := printable.Line(strings.Join(append([]string{filepath.Base(p.path)}, args...), " "))
	return string(out), fmt.Errorf("%s: %s: %w", called, printable.Line(first), err)
}
