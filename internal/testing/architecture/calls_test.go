package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// opensFiles are the calls that open any kind of file: a pipe blocks them, and a
// device never ends.
var opensFiles = map[string][]string{
	"os":                    {"Open", "OpenFile", "ReadFile", "OpenInRoot", "OpenRoot"},
	"io/ioutil":             {"ReadFile"},
	"golang.org/x/sys/unix": {"Open", "Openat", "Openat2"},
	"syscall":               {"Open", "Openat"},
}

// mayOpen maps the files that may make such a call to the reason.
var mayOpen = map[string]string{
	"ctl/daemon.go":                    "the daemon's log is written, and opened for reading and writing, which waits for nobody",
	"ctl/export.go":                    "a folder is synced in which the command has just written",
	"ctl/identity.go":                  "a new file is made",
	"ctl/passphrasesource.go":          "a passphrase may come from a pipe that its user names; it is passed on unread",
	"ctl/sshdir.go":                    "a folder is listed",
	"ctl/terminal.go":                  "the terminal is no file",
	"internal/ask/caller_linux.go":     "the kernel's files about a process",
	"internal/daemon/status.go":        "the kernel's files about a process",
	"internal/doctor/kernel_linux.go":  "the kernel's files about itself",
	"internal/guard/tracer_linux.go":   "the kernel's files about a process",
	"internal/logfile/logfile.go":      "a new file is made",
	"internal/ipc/hold_linux.go":       "a program is held by O_PATH, which opens nothing and waits for nobody",
	"internal/prompt/terminal.go":      "the terminal is no file",
	"internal/prompt/tty.go":           "the terminal is no file",
	"internal/session/kernel_linux.go": "the kernel's files about a process",
	"internal/testing/mdoc/mdoc.go":    "manual pages are checked in",
	"internal/unixsock/listen.go":      "a lock is opened for reading and writing, which waits for nobody, in a folder that nobody else can write to",
	"internal/unixsock/peer_linux.go":  "the kernel's files about a process",
}

// TestFilesAreOpenedInOnePlace: whoever can write to one of Vigil's folders can put a pipe,
// a device or an endless file there. Only package durable, which handles them, opens files.
func TestFilesAreOpenedInOnePlace(t *testing.T) {
	used := map[string]bool{}
	for _, tree := range []string{"agentd", "ctl", "internal"} {
		walk(t, func(path string) {
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(name, tree+"/") || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
				strings.HasPrefix(name, "internal/durable/") || strings.HasPrefix(name, "internal/testing/sshtest/") {
				return
			}
			for _, call := range callsIn(t, path, opensFiles) {
				used[name] = true
				if mayOpen[name] == "" {
					t.Errorf("%s calls %s: use internal/durable, or say in mayOpen why not", name, call)
				}
			}
		})
	}
	for name := range mayOpen {
		if !used[name] {
			t.Errorf("%s opens no file (any more): its reason excuses nothing", name)
		}
	}
}

// prints are the calls that print text unchanged.
var prints = map[string][]string{"fmt": {"Print", "Printf", "Println", "Fprint", "Fprintf", "Fprintln"}}

// TestTextsArePrintedInOnePlace: printf in ctl/output.go makes all output printable lines.
func TestTextsArePrintedInOnePlace(t *testing.T) {
	looked := 0
	walk(t, func(path string) {
		if filepath.Base(filepath.Dir(path)) != "ctl" || filepath.Base(path) == "output.go" ||
			!strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		looked++
		for _, call := range callsIn(t, path, prints) {
			t.Errorf("%s calls %s: use printf", path, call)
		}
	})
	if looked == 0 {
		t.Error("looked in the wrong place")
	}
}

// callsIn lists the given functions that a source file uses.
func callsIn(t *testing.T, path string, functions map[string][]string) (calls []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{} // by the package's name in the file
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = functions[imported]
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && slices.Contains(names[pkg.Name], s.Sel.Name) {
				calls = append(calls, pkg.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return calls
}
