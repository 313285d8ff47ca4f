package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"vigil/internal/control"

	"vigil/internal/program"
)

// git is the user's git.
type git struct{ *program.Program }

// findGit returns git from the PATH, if it is new enough for user.signingkey to hold a
// key itself: git 2.35 reads "key::" (its gpg-interface.c, is_literal_ssh_key).
func (a *app) findGit(ctx context.Context) (*git, error) {
	const install = "Install git 2.35 or newer."
	p, err := a.findProgram("git", install)
	if err != nil {
		return nil, err
	}
	g := &git{p}
	version, err := g.Run(ctx, "--version")
	if err != nil {
		return nil, err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "git version %d.%d", &major, &minor); err == nil && (major < 2 || major == 2 && minor < 35) {
		return nil, control.Errorf(control.CodeFailed, install, "%s can't sign with a key that is in an agent only", strings.TrimSpace(version))
	}
	return g, nil
}

// unset is git config's exit status for a variable without a value.
const unset = 1

// values returns a variable's values, of which the last counts: in one file, or, without
// options, in all that count here.
func (g *git) values(ctx context.Context, name string, options ...string) ([]string, error) {
	out, err := g.Run(ctx, append(append([]string{"config"}, options...), "-z", "--get-all", name)...)
	var status *exec.ExitError
	switch {
	case errors.As(err, &status) && status.ExitCode() == unset:
		return nil, nil
	case err != nil:
		return nil, err
	}
	values := strings.Split(out, "\x00")
	return values[:len(values)-1], nil // each ends with the NUL
}

// value returns the value of a variable that counts, or "".
func (g *git) value(ctx context.Context, name string, options ...string) (string, error) {
	values, err := g.values(ctx, name, options...)
	if len(values) == 0 {
		return "", err
	}
	return values[len(values)-1], err
}

// set gives a variable one value in place of all that it has in a file.
func (g *git) set(ctx context.Context, scope, name, value string) error {
	_, err := g.Run(ctx, "config", scope, "--replace-all", name, value)
	return err
}

// worktree returns the root of the repository that the working folder is in, or "" for a
// bare one.
func (g *git) worktree(ctx context.Context) (string, error) {
	inside, err := g.Run(ctx, "rev-parse", "--is-inside-work-tree")
	if err != nil && strings.Contains(err.Error(), "not a git repository") {
		return "", control.Errorf(control.CodeFailed, "Go to one, or set it for all of yours: vigilctl git-signing --global", "the working folder isn't in a git repository")
	}
	if err != nil || strings.TrimSpace(inside) != "true" {
		return "", err
	}
	root, err := g.Run(ctx, "rev-parse", "--show-toplevel")
	return filepath.Clean(strings.TrimSuffix(root, "\n")), err
}
