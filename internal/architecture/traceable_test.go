package architecture

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOnlyTestsBuildWhatCanBeTraced: the linker's variable that lets the binaries
// be traced is set where tests build them, and by nothing that builds what people
// install.
func TestOnlyTestsBuildWhatCanBeTraced(t *testing.T) {
	const variable = "guard.traceable"
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
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
		case !d.Type().IsRegular() || name == "internal/architecture/traceable_test.go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(variable)) {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"CONTRIBUTING.md", "internal/sshtest/build.go"}; !slices.Equal(found, want) {
		t.Errorf("%s is in %q, want it in %q alone", variable, found, want)
	}
}
