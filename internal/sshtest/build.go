package sshtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages says where each binary's main package lies, from the module's root.
var packages = map[string]string{
	"vigild":       "agentd",
	"vigil-opener": "agentd/opener",
	"vigilctl":     "ctl",
}

// set is what is built for a test run.
type set struct {
	binaries  []string
	traceable bool // they let themselves be traced
}

// buildAll builds binaries into dir as the Makefile does: unreadable (0111),
// all with one build id, and with the race detector when the tests have it.
func buildAll(dir string, s set) error {
	if len(s.binaries) == 0 {
		return nil
	}
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	id, err := exec.Command("sh", filepath.Join(root, "tools", "buildid.sh")).Output()
	if err != nil {
		return fmt.Errorf("compute the build id: %w", err)
	}
	linked := "-X vigil/internal/buildid.id=" + strings.TrimSpace(string(id))
	if s.traceable {
		linked += " -X vigil/internal/guard.traceable=yes"
	}
	for _, name := range s.binaries {
		if err := build(root, filepath.Join(dir, name), packages[name], linked); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return nil
}

func build(root, target, pkg, linked string) error {
	if _, err := os.Stat(filepath.Join(root, pkg)); errors.Is(err, os.ErrNotExist) {
		return nil // Binary skips the tests that need it
	}
	args := []string{"build", "-trimpath", "-ldflags", linked, "-o", target}
	cgo := "CGO_ENABLED=0"
	if RaceEnabled {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "./"+pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo, "GOEXPERIMENT=runtimesecret")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.Chmod(target, 0o111)
}

// ModuleRoot returns the directory of go.mod above the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no go.mod above the working directory")
}
