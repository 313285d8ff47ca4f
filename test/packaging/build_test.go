package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/printable"
	"vigil/internal/testing/sshtest"
)

// wanted is set by `make test-packages`.
const wanted = "VIGIL_TEST_PACKAGES"

// kinds are the names of the packages of a tree without git on amd64 and arm64, by kind.
var kinds = map[string]string{"deb": "vigil_*.deb", "rpm": "vigil-*.rpm", "apk": "vigil_*.apk", "arch": "vigil-*.pkg.tar.zst"}

// built maps a kind to the path of its package.
var built = map[string]string{}

func TestMain(m *testing.M) {
	if os.Getenv(wanted) == "" {
		fmt.Println("skipped: make test-packages installs the tools, and runs this")
		return
	}
	dir, err := os.MkdirTemp("/tmp", "vp")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		built, err = build(filepath.Join(dir, "tree"), "022")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// build makes the packages in a copy of the tree, under an umask.
func build(place, umask string) (map[string]string, error) {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		return nil, err
	}
	to := printable.Word(place)
	script := "umask " + umask + "; mkdir " + to + " && cd " + printable.Word(root) +
		" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -f \"$f\" ] || cp --parents --no-preserve=mode,timestamps -t " + to + ` "$f"; done` +
		" && cd " + to + " && make package"
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make package: %w\n%s", err, out)
	}
	packages := map[string]string{}
	for kind, pattern := range kinds {
		found, err := filepath.Glob(filepath.Join(place, "bin/package", pattern))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("packages %s: %v, %w", pattern, found, err)
		}
		packages[kind] = found[0]
	}
	return packages, nil
}

// TestReproducible: the same tree in another folder, copied at another time under another
// umask, makes the same packages, byte for byte.
func TestReproducible(t *testing.T) {
	again, err := build(filepath.Join(t.TempDir(), "another tree"), "077")
	if err != nil {
		t.Fatal(err)
	}
	for kind := range kinds {
		one, err := os.ReadFile(built[kind])
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(again[kind])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s and %s differ", built[kind], again[kind])
		}
	}
}

func output(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-o", "pipefail", "-c", script, "bash"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.String())
	}
	return out
}
