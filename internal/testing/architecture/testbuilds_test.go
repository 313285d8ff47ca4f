package architecture

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOnlyTestsBuildWhatIsForTests: only tests use the linker variable that makes binaries
// traceable and the build tag that makes passphrases cheap; installed builds never do.
func TestOnlyTestsBuildWhatIsForTests(t *testing.T) {
	const self = "internal/testing/architecture/testbuilds_test.go"
	want := map[string][]string{
		"guard.traceable": {"CONTRIBUTING.md", "internal/testing/sshtest/build.go"},
		"weakkdf": {
			"CONTRIBUTING.md", "Makefile", "internal/keyring/kdfcost.go", "internal/keyring/kdfcost_weak.go",
			"internal/testing/sshtest/build.go",
		},
	}
	found := map[string][]string{}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (name == ".git" || name == "bin"):
			return filepath.SkipDir
		case !d.Type().IsRegular() || name == self:
			return nil
		}
		text, err := os.ReadFile(path)
		for mark := range want {
			if err == nil && bytes.Contains(text, []byte(mark)) {
				found[mark] = append(found[mark], name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(found, want, slices.Equal) {
		t.Errorf("found %q, want %q", found, want)
	}
}

// TestWhatIsInstalledHasNoTagForTests: the Makefile's test commands use the tag; its
// build commands don't.
func TestWhatIsInstalledHasNoTagForTests(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tagged := 0
	for line := range bytes.Lines(makefile) {
		if !bytes.Contains(line, []byte(" -tags weakkdf")) {
			continue
		}
		tagged++
		if !bytes.Contains(line, []byte("go test ")) {
			t.Errorf("%q builds with a tag, and no test", line)
		}
	}
	if tagged == 0 {
		t.Error("no line has a tag")
	}
}
