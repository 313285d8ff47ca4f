package sshtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"vigil/internal/keyring"
)

// packages maps binaries to their main packages, relative to the module's root.
var packages = map[string]string{
	"vigild":       "agentd",
	"vigil-opener": "agentd/opener",
	"vigilctl":     "ctl",
	"vigil-meter":  "ctl/meter",
}

// buildsVariable names a directory shared by one command's test runs: they copy what
// the first of them has linked. Whoever sets it removes the directory, and must not
// change the sources meanwhile.
const buildsVariable = "VIGIL_TEST_BUILDS"

// set is what to build for a test run.
type set struct {
	binaries  []string
	traceable bool // they can be traced
	next      bool // there is a second build of them, in NextDir
}

// install puts binaries into dir as the Makefile does: unreadable (0111) and all with
// one build id. They have the race detector and the tag weakkdf if the tests do.
func install(dir string, s set) error {
	shared := os.Getenv(buildsVariable)
	if shared == "" {
		return buildAll(dir, s)
	}
	if s.traceable {
		shared = filepath.Join(shared, "traceable")
	}
	if s.next {
		shared = filepath.Join(shared, "next")
	}
	if err := os.MkdirAll(shared, 0o700); err != nil {
		return err
	}
	lock, err := os.Create(filepath.Join(shared, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close() // also unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	var missing []string
	for _, name := range s.binaries {
		if _, err := os.Stat(filepath.Join(shared, name)); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if err := buildAll(shared, set{missing, s.traceable, s.next}); err != nil {
		return err
	}
	for _, name := range s.binaries {
		if err := copyBinary(filepath.Join(dir, name), filepath.Join(shared, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyBinary copies a binary made by buildAll. It makes the original readable
// meanwhile; the caller holds the lock, so nobody else sees that.
func copyBinary(to, from string) error {
	if err := os.Chmod(from, 0o500); errors.Is(err, os.ErrNotExist) {
		return nil // Binary skips the tests that need it
	} else if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o500); err != nil {
		return err
	}
	return os.Chmod(to, mode())
}

// mode is the mode of an installed binary. The race detector's runtime reads its settings
// from /proc/self/environ, which an unreadable binary may not.
func mode() os.FileMode {
	if RaceEnabled {
		return 0o555
	}
	return 0o111
}

// buildAll builds the binaries of a set into dir.
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
	if s.next {
		linked += "-next"
	}
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
	// -buildvcs=false: git answers nothing in a clone that is another user's.
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", linked, "-o", target}
	if keyring.WeakKDF {
		args = append(args, "-tags", "weakkdf")
	}
	cgo := "CGO_ENABLED=0"
	// Of the binaries, the one with many goroutines. The others do one thing and end:
	// their unit tests run with the detector, and it makes key derivation ten times
	// as slow.
	if RaceEnabled && pkg == packages["vigild"] {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "./"+pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo, "GOEXPERIMENT=runtimesecret,jsonv2")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.Chmod(target, mode())
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
