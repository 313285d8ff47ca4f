package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"vigil/internal/printable"
	"vigil/internal/testing/sshtest"
)

// wanted is set by `make test-packages`.
const wanted = "VIGIL_TEST_PACKAGES"

// kinds are the names of the packages of a tree without git on amd64 and arm64, by kind.
var kinds = map[string]string{"deb": "vigil_*.deb", "rpm": "vigil-*.rpm", "apk": "vigil_*.apk", "arch": "vigil-*.pkg.tar.zst"}

var (
	// release is the folder of a release of this tree for this machine.
	release string
	// built maps a kind to the path of its package there.
	built = map[string]string{}
)

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
		release, err = build(filepath.Join(dir, "tree"), "022")
	}
	for kind, pattern := range kinds {
		if found, _ := filepath.Glob(filepath.Join(release, pattern)); err == nil && len(found) == 1 {
			built[kind] = found[0]
		} else if err == nil {
			err = fmt.Errorf("packages %s: %v", pattern, found)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// build makes a release in a copy of the tree, under an umask, and signs it with a new key
// beside the copy. It returns the release's folder.
func build(place, umask string) (string, error) {
	err := inCopy(place, umask, `ssh-keygen -q -t ed25519 -N '' -C key -f "$PWD.key" && make release ARCHES=`+runtime.GOARCH+` KEY="$PWD.key"`)
	return filepath.Join(place, "bin/release"), err
}

// buildNext makes the package of a tree that was changed, and so of another build. It
// returns its path.
func buildNext(place string) (string, error) {
	if err := inCopy(place, "022", "printf '\n// Changed.\n' >>agentd/main.go && make package"); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(place, "bin/package", kinds["deb"]))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("packages: %v, %w", found, err)
	}
	return found[0], nil
}

// inCopy runs a command in a new copy of the tree, under an umask.
func inCopy(place, umask, command string) error {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		return err
	}
	to := printable.Word(place)
	script := "umask " + umask + "; mkdir " + to + " && cd " + printable.Word(root) +
		" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -f \"$f\" ] || cp --parents --no-preserve=mode,timestamps -t " + to + ` "$f"; done` +
		" && cd " + to + " && " + command
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return nil
}

// TestReproducible: the same tree in another folder, copied at another time under another
// umask, makes the same packages and bill of materials, byte for byte.
func TestReproducible(t *testing.T) {
	again, err := build(filepath.Join(t.TempDir(), "another tree"), "077")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(release)
	if err != nil || len(files) != len(kinds)+len([]string{"bill of materials", "checksums", "their signature"}) {
		t.Fatalf("the release has %v, %v", files, err)
	}
	for _, file := range files {
		one, err := os.ReadFile(filepath.Join(release, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(again, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if signature := file.Name() == "SHA256SUMS.sig"; bytes.Equal(one, two) == signature { // of two keys
			t.Errorf("two builds of %s differ: %v", file.Name(), !signature)
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
