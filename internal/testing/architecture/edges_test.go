package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is the output of `go list -json` about a package.
type pkg struct {
	ImportPath string
	Name       string
	Imports    []string // of its own files
	Deps       []string // transitive
	Standard   bool
}

// forbidden are edges that must not exist, even transitively.
var forbidden = []struct {
	from string
	to   []string // a path, or with /... the tree below it
	why  string
}{
	{
		"vigil/ctl",
		[]string{"vigil/internal/keeper", "vigil/internal/envelope", "vigil/internal/signer", "vigil/internal/opener/job"},
		"the command asks the daemon; it never has a key, not even for a moment",
	},
	{
		"vigil/ctl",
		[]string{"github.com/aws/...", "golang.org/x/crypto/argon2", "vigil/internal/keyfile", "vigil/internal/master/...", "vigil/internal/backend/..."},
		"what talks to a cloud, hashes a passphrase or parses a key file runs only in the opener, and dies with it",
	},
	{
		"vigil/agentd",
		[]string{"github.com/aws/...", "vigil/internal/master/awskms", "vigil/internal/backend/s3", "vigil/internal/awsauth"},
		"the AWS SDK costs a resident process 6 MB, and leaves copies of what it decrypted",
	},
	{
		"vigil/agentd",
		[]string{"golang.org/x/crypto/argon2", "vigil/internal/passphrase", "vigil/internal/keyfile"},
		"passphrases and key files are read only in the opener: what their libraries leave in memory dies with it",
	},
	{
		"vigil/agentd",
		[]string{"net/http"},
		"a process that stays doesn't talk to the network",
	},
	{
		"vigil/agentd",
		[]string{"vigil/internal/opener/job"},
		"the front starts the opener; the work of its jobs is linked by vigil-opener alone",
	},
	{
		"vigil/agentd",
		[]string{"vigil/internal/ask/asker"},
		"the front starts the asker; what sees a passphrase that is typed is linked by vigilctl alone",
	},
	{
		"vigil/agentd/opener",
		[]string{"vigil/internal/sshagent", "vigil/internal/daemon", "vigil/internal/control", "vigil/internal/prompt", "vigil/internal/signer"},
		"the opener does one job and ends: it serves nobody, asks nobody and signs nothing",
	},
	{
		"vigil/internal/daemon",
		[]string{"vigil/internal/keeper/server", "vigil/internal/signer", "vigil/internal/ring", "vigil/internal/envelope", "vigil/internal/handover"},
		"the front decodes what strangers chose: it has no key, and no code to use one or to take one over",
	},
	{
		"vigil/internal/keeper",
		[]string{"vigil/internal/keeper/server", "vigil/internal/signer", "vigil/internal/ring", "vigil/internal/envelope", "vigil/internal/handover", "vigil/internal/sandbox"},
		"the front links it to talk to a keeper, not to be one",
	},
	{
		"vigil/internal/keeper/server",
		[]string{"vigil/internal/master/...", "vigil/internal/backend/...", "vigil/internal/keyfile", "vigil/internal/passphrase", "vigil/internal/config", "vigil/internal/sshagent", "vigil/internal/daemon"},
		"the process that holds keys does what needs them and nothing else",
	},
	{
		"vigil/internal/sshagent",
		[]string{"vigil/internal/signer", "vigil/internal/envelope", "vigil/internal/keeper", "vigil/internal/vaultfile"},
		"parsing and holding are apart: what decodes SSH messages has no key and no code to use one",
	},
	{
		"vigil/internal/policy",
		[]string{"vigil/internal/sshagent", "vigil/internal/keeper", "vigil/internal/prompt"},
		"decisions are pure: facts in, verdict out",
	},
	{
		"vigil/internal/vaultfile",
		[]string{"vigil/internal/envelope", "vigil/internal/guard"},
		"the file is read and written without a key",
	},
	{
		"vigil/internal/keyring",
		[]string{"vigil/internal/envelope", "vigil/internal/guard", "vigil/internal/vaultfile"},
		"members and deks are checked and merged without a private key",
	},
}

// inMemory are packages that do no I/O: their own files import no package in doesIO.
var inMemory = []string{
	"vigil/internal/agentproto", "vigil/internal/vaultfile", "vigil/internal/keyring",
	"vigil/internal/policy", "vigil/internal/wire", "vigil/internal/canon", "vigil/internal/id",
}

// doesIO are the packages by which a program does I/O.
var doesIO = []string{
	"os", "os/exec", "io/fs", "io/ioutil", "net", "net/http", "syscall", "log", "log/slog",
	"golang.org/x/sys/unix", "vigil/internal/durable", "vigil/internal/paths", "vigil/internal/unixsock",
}

// onlyHome names packages that only certain packages' own files may import.
var onlyHome = []struct {
	what  string
	homes []string
	why   string
}{
	{"unsafe", []string{"vigil/internal/guard"}, "guarded memory is the only home of unsafe"},
	{"golang.org/x/crypto/argon2", []string{"vigil/internal/passphrase", "vigil/internal/keyfile"}, "one way from a passphrase to a key, and PuTTY's for its own files"},
	{"github.com/awnumar/memguard", []string{"vigil/internal/guard"}, "one kind of guarded memory for all; memguard panics at the lock limit unless that was tried first"},
	{"runtime/secret", []string{"vigil/internal/guard"}, "builds without the experiment have a fallback there"},
	{"github.com/trustelem/zxcvbn", []string{"vigil/internal/strength"}, "it caches what it was given"},
	{"vigil/internal/strength", []string{"vigil/ctl/meter"}, "it runs in a process that ends"},
	{"github.com/spf13/cobra", []string{"vigil/ctl"}, "the daemon's few flags need no library"},
}

// binaries are the installed ones.
var binaries = []string{"vigil/agentd", "vigil/agentd/opener", "vigil/ctl", "vigil/ctl/meter"}

// onlyForTests are packages that no binary may link.
var onlyForTests = []string{
	"testing", "vigil/internal/testing/...", "vigil/test/...", "vigil/bench", "github.com/rogpeppe/...",
}

func TestForbiddenEdges(t *testing.T) {
	tree := load(t)
	for _, edge := range forbidden {
		p, ok := tree[edge.from]
		if !ok {
			t.Errorf("there is no package %s (any more): its edges hold nothing", edge.from)
			continue
		}
		for _, to := range edge.to {
			if !slices.ContainsFunc(keys(tree), func(path string) bool { return matches(path, to) }) {
				t.Errorf("nothing in the tree is or links %s: an edge to it can't fail", to)
			}
			for _, dep := range p.Deps {
				if matches(dep, to) {
					t.Errorf("%s links %s, by %s: %s", edge.from, dep, strings.Join(chain(tree, edge.from, dep), " → "), edge.why)
				}
			}
		}
	}
}

func TestPackagesWithoutIO(t *testing.T) {
	tree := load(t)
	for _, path := range inMemory {
		p, ok := tree[path]
		if !ok {
			t.Errorf("there is no package %s (any more)", path)
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(doesIO, imported) {
				t.Errorf("%s imports %s, but does no I/O", path, imported)
			}
		}
	}
}

func TestHomes(t *testing.T) {
	tree := load(t)
	for _, rule := range onlyHome {
		found := false
		for path, p := range tree {
			if !strings.HasPrefix(path, "vigil/") || !slices.Contains(p.Imports, rule.what) {
				continue
			}
			if found = found || slices.Contains(rule.homes, path); !slices.Contains(rule.homes, path) {
				t.Errorf("%s imports %s, which is for %s: %s", path, rule.what, strings.Join(rule.homes, ", "), rule.why)
			}
		}
		if !found {
			t.Errorf("%s doesn't import %s: the rule can't fail", strings.Join(rule.homes, ", "), rule.what)
		}
	}
}

func TestBinariesLinkNothingForTests(t *testing.T) {
	tree := load(t)
	for _, binary := range binaries {
		p, ok := tree[binary]
		if !ok || p.Name != "main" {
			t.Errorf("%s is no command", binary)
			continue
		}
		for _, dep := range p.Deps {
			for _, pattern := range onlyForTests {
				if matches(dep, pattern) {
					t.Errorf("%s links %s, by %s", binary, dep, strings.Join(chain(tree, binary, dep), " → "))
				}
			}
			if d := tree[dep]; d.Name == "main" {
				t.Errorf("%s links the command %s", binary, dep)
			}
		}
	}
}

// load lists the tree and everything it imports, without its tests.
func load(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Imports,Deps,Standard", "vigil/...")
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=runtimesecret,jsonv2", "GOOS=linux", "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	tree := map[string]pkg{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return tree
		} else if err != nil {
			t.Fatal(err)
		}
		tree[p.ImportPath] = p
	}
}

func keys(tree map[string]pkg) []string {
	paths := make([]string, 0, len(tree))
	for path := range tree {
		paths = append(paths, path)
	}
	return paths
}

// matches reports whether path is pattern or, for a pattern that ends in /..., is below it.
func matches(path, pattern string) bool {
	if above, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(path, above+"/")
	}
	return path == pattern
}

// chain returns a shortest chain of imports between two packages.
func chain(tree map[string]pkg, from, to string) []string {
	previous := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			var way []string
			for p := to; p != ""; p = previous[p] {
				way = append(way, p)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range tree[queue[0]].Imports {
			if _, seen := previous[next]; !seen {
				previous[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return []string{from, "…", to}
}
