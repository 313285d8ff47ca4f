package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the tree's top, relative to this package.
const root = "../../.."

// module is the output of `go list -json` about a package's module.
type module struct {
	Path string
	Main bool
}

// listed is a package of the tree or one of their imports.
type listed struct {
	ImportPath   string
	Module       *module
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// TestEveryPackageIsExplained: docs/architecture.md has a row for each package and no
// others.
func TestEveryPackageIsExplained(t *testing.T) {
	var want []string
	for _, p := range goList(t, "./...") {
		want = append(want, strings.TrimPrefix(p.ImportPath, "vigil/"))
	}
	compare(t, "docs/architecture.md", rows(t, "docs/architecture.md", "## Packages"), want)
}

// TestTheWalksAreThere: each step of docs/architecture.md's walks through the code
// names a function, and the file that has it.
func TestTheWalksAreThere(t *testing.T) {
	step := regexp.MustCompile("(?m)^\\| `([a-z0-9/_]+\\.go)` \\| `(?:(\\w+)\\.)?(\\w+)` \\|")
	steps := step.FindAllStringSubmatch(read(t, filepath.Join(root, "docs/architecture.md")), -1)
	if len(steps) < 30 {
		t.Fatalf("found %d steps", len(steps))
	}
	for _, s := range steps {
		function := `(?m)^func ` + s[3] + `[\[(]`
		if s[2] != "" {
			function = `(?m)^func \(\w+ \*?` + s[2] + `\) ` + s[3] + `\(`
		}
		if !regexp.MustCompile(function).MatchString(read(t, filepath.Join(root, s[1]))) {
			t.Errorf("%s has no function %s.%s", s[1], s[2], s[3])
		}
	}
}

// TestEveryDependencyIsExplained: docs/dependencies.md has a row for each module that
// the tree's own files import, including tests, and for each tool.
func TestEveryDependencyIsExplained(t *testing.T) {
	home := map[string]string{} // package → module
	for _, p := range goList(t, "-deps", "-test", "./...") {
		if p.Module != nil {
			path, _, _ := strings.Cut(p.ImportPath, " ") // "x [y.test]"
			home[path] = p.Module.Path
		}
	}
	direct := map[string]bool{}
	for _, goos := range []string{"linux", "darwin"} {
		for _, p := range goListFor(t, goos, "./...") {
			for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if m := home[imported]; m != "" && m != "vigil" {
					direct[m] = true
				}
			}
		}
	}
	compare(t, "docs/dependencies.md", rows(t, "docs/dependencies.md", "## Direct"), sortedKeys(direct))
	compare(t, "docs/dependencies.md", rows(t, "docs/dependencies.md", "## Tools"), tools(t))
}

// TestLinkedModules: docs/dependencies.md has a row for each module that a binary
// links on Linux or macOS, and the row names those binaries.
func TestLinkedModules(t *testing.T) {
	linked := map[string][]string{} // module → binaries
	for _, binary := range []struct{ name, path string }{
		{"vigild", "./agentd"}, {"vigil-opener", "./agentd/opener"}, {"vigilctl", "./ctl"}, {"vigil-meter", "./ctl/meter"},
	} {
		for _, goos := range []string{"linux", "darwin"} {
			for _, p := range goListFor(t, goos, "-deps", binary.path) {
				if m := p.Module; m != nil && !m.Main && !slices.Contains(linked[m.Path], binary.name) {
					linked[m.Path] = append(linked[m.Path], binary.name)
				}
			}
		}
	}
	want := make([]string, 0, len(linked))
	for path, by := range linked {
		want = append(want, path+"` | "+strings.Join(by, ", "))
	}
	compare(t, "docs/dependencies.md", rowsOf(t, "docs/dependencies.md", "## Linked", "(?m)^\\| `([^`]+` \\| [^|]+) \\|"), want)
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	script   = regexp.MustCompile(`\b[\w-]+\.txtar\b`)
	link     = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)\s]*)?\)`)
)

// TestDocumentsNameWhatThereIs: a test, script or file that a document names exists.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	tests, scripts := map[string]bool{}, map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	walk(t, func(path string) {
		switch {
		case strings.HasSuffix(path, "_test.go"):
			for _, m := range declared.FindAllStringSubmatch(read(t, path), -1) {
				tests[m[1]] = true
			}
		case strings.HasSuffix(path, ".txtar"):
			scripts[filepath.Base(path)] = true
		}
	})
	if len(tests) == 0 || len(scripts) == 0 {
		t.Fatalf("%d tests and %d scripts found: looked in the wrong place", len(tests), len(scripts))
	}
	walk(t, func(path string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		text := read(t, path)
		for _, name := range testName.FindAllString(text, -1) {
			if !tests[name] {
				t.Errorf("%s names the test %s, which is not there", path, name)
			}
		}
		for _, name := range script.FindAllString(text, -1) {
			if !scripts[name] {
				t.Errorf("%s names the script %s, which is not there", path, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links %s: %v", path, m[1], err)
			}
		}
	})
}

// rows returns the backquoted text in the first cell of every table row between a
// heading and the next one of the same depth.
func rows(t *testing.T, document, heading string) []string {
	t.Helper()
	return rowsOf(t, document, heading, "(?m)^\\| `([^`]+)` \\|")
}

func rowsOf(t *testing.T, document, heading, row string) []string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, filepath.Join(root, document)), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var names []string
	for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

func compare(t *testing.T, document string, got, want []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s has no row for %s: add one that says why it is there", document, name)
		}
	}
	for i, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s has a row for %s, which is not there (any more)", document, name)
		}
		if slices.Contains(got[:i], name) {
			t.Errorf("%s has two rows for %s", document, name)
		}
	}
}

// tools are the commands of tools/go.mod, and the modules that the tree's own tools import.
func tools(t *testing.T) []string {
	t.Helper()
	_, block, ok := strings.Cut(read(t, filepath.Join(root, "tools/go.mod")), "\ntool (\n")
	block, _, closed := strings.Cut(block, "\n)")
	if !ok || !closed {
		t.Fatal("tools/go.mod has no block of tools")
	}
	all := strings.Fields(block)
	for _, m := range regexp.MustCompile(`(?m)^(?:require |\t)(\S+) v\S+$`).FindAllStringSubmatch(read(t, filepath.Join(root, "tools/go.mod")), -1) {
		all = append(all, m[1])
	}
	return all
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	return goListFor(t, "linux", args...)
}

func goListFor(t *testing.T, goos string, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Module,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=runtimesecret,jsonv2", "GOOS="+goos, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// walk calls f for every file of the tree except git's, build outputs and the tools' files.
func walk(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, d.Name()) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sortedKeys(m map[string]bool) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
