package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// everyCommand returns the words of every command, but for help.
func everyCommand(b *bench) (all [][]string) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() != "help" {
			all = append(all, strings.Fields(c.CommandPath())[1:])
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{stdin: b.stdin}).root())
	return all
}

// TestHelp checks every command's help text against its golden file.
func TestHelp(t *testing.T) {
	b := newBench(t)
	for _, args := range everyCommand(b) {
		name := strings.Join(args, "-")
		if name == "" {
			name = "vigilctl"
		}
		t.Run(name, func(t *testing.T) {
			c, _, err := (&app{stdin: b.stdin}).root().Find(args)
			if err != nil {
				t.Fatal(err)
			}
			if c.Short == "" || c.Long == "" || c.Example == "" {
				t.Error("short text, long text or example is missing")
			}
			got := b.ok(append(args, "--help")...).out
			golden := filepath.Join("testdata", "help", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("help differs from %s (go test ./ctl -update):\n%s", golden, got)
			}
		})
	}
}

func TestUsageErrorsExitWith2BeforeAnythingHappens(t *testing.T) {
	b := newBench(t) // no daemon: a command that tries to connect exits with 5
	for _, args := range []string{
		"nonsense",
		"lisst",
		"list --nonsense",
		"list extra",
		"list --vault UPPER",
		"vault verify --vault UPPER",
		"vault restore laptop --revision abcd --vault UPPER",
		"keyring restore --vault UPPER",
		"show",
		"export laptop",
		"export laptop --output x --no-passphrase --key-passphrase-file y",
		"export laptop --output x --passphrase-file - --key-passphrase-fd " + itoa(b.stdin.Fd()),
		"add - --key-passphrase-file -",
		"unlock --passphrase-file a --passphrase-fd 3",
		"unlock --passphrase-fd three",
		"unlock --passphrase-fd -2",
		"edit laptop",
		"edit laptop --destination a@b --anywhere",
		"why --limit -1",
		"env --shell tcl",
		"completion tcl",
		"up --import all --import none",
		"up --import /nonexistent/key",
		"init --kdf-time -1",
		"rotate extra",
		"rotate --vault UPPER",
		"identity nonsense",
		"identity admit",
		"identity admit /nonexistent/request",
		"identity admit - --passphrase-file -",
		"identity remove",
		"identity request --kdf-time -1",
		"passphrase --passphrase-file - --new-passphrase-file -",
		"master set",
		"backend set a b",
	} {
		t.Run(args, func(t *testing.T) {
			r := b.run(strings.Fields(args)...)
			if r.status != 2 || r.out != "" || !strings.HasPrefix(r.errors, "vigilctl: ") {
				t.Errorf("exit status %d\n%s%s", r.status, r.out, r.errors)
			}
		})
	}
	b.fails(2, "can't both go", "export", "laptop", "--output", "-", "--json")
	if _, err := os.Stat(filepath.Join(b.home, ".local")); err == nil {
		t.Error("something was written")
	}
}

func TestEveryCommandThatNeedsADaemonExitsWith5WithoutOne(t *testing.T) {
	b := newBench(t)
	pass := b.file("pass", "x")
	key := b.file("key", "x")
	for _, args := range []string{
		"unlock --passphrase-file " + pass, "lock", "status", "list", "show k", "add " + key, "generate k",
		"edit k --name n", "rm k --yes", "export k --output " + filepath.Join(b.home, "out") + " --no-passphrase --passphrase-file " + pass,
		"refresh", "why",
	} {
		b.fails(5, "vigild is not running", strings.Fields(args)...)
	}
	if _, err := os.Stat(filepath.Join(b.home, "out")); err == nil {
		t.Error("a failed export left its file")
	}
}

func TestExitStatusFollowsTheErrorsCode(t *testing.T) {
	b := newBench(t).withDaemon()
	for code, status := range map[control.Code]int{
		control.CodeFailed: 1, control.CodeLocked: 3, control.CodeWrongPassphrase: 4,
		control.CodeUnreachable: 6, control.CodeRefused: 7, control.CodeRevoked: 7,
	} {
		b.daemon.failWith(&control.GenerateRequest{}, control.Errorf(code, "Do this.", "it is so"))
		b.fails(status, "vigilctl: it is so\n  Do this.\n", "generate", "k")
	}
}

func TestErrorsAsJSON(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.failWith(&control.ListRequest{}, control.Errorf(control.CodeLocked, "Unlock it.", "vault <x> is locked"))
	for name, tc := range map[string]struct {
		args string
		want map[string]string
	}{
		"the daemon's":  {"list --json", map[string]string{"code": "locked", "message": "vault <x> is locked", "next": "Unlock it."}},
		"of usage":      {"list --nonsense --json", map[string]string{"code": "usage", "message": "unknown flag: --nonsense", "next": "`vigilctl list --help` shows how."}},
		"of a name's":   {"show --nonsense --json", map[string]string{"code": "usage", "message": "unknown flag: --nonsense", "next": "`vigilctl show --help` shows how. A name that begins with \"-\" goes behind \"--\"."}},
		"only usage":    {"why --limit -1 --json", map[string]string{"code": "usage", "message": "--limit is negative", "next": "`vigilctl why --help` shows how."}},
		"flag in front": {"--json list", map[string]string{"code": "locked", "message": "vault <x> is locked", "next": "Unlock it."}},
	} {
		t.Run(name, func(t *testing.T) {
			r := b.run(strings.Fields(tc.args)...)
			var got map[string]map[string]string
			if err := json.Unmarshal([]byte(r.errors), &got); err != nil || r.out != "" {
				t.Fatalf("%v\n%s%s", err, r.out, r.errors)
			}
			if !reflect.DeepEqual(got, map[string]map[string]string{"error": tc.want}) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestEveryCommandPrintsJSON also checks that nothing is written to stderr.
func TestEveryCommandPrintsJSON(t *testing.T) {
	b := newBench(t).withDaemon()
	pass := b.file("pass", "correct horse\n")
	key := b.file("id_a", "fake key")
	for _, args := range []string{
		"status", "list", "generate laptop", "show laptop", "add " + key, "edit laptop --comment c", "why", "env", "version",
		"export laptop --no-passphrase --passphrase-file " + pass + " --output " + filepath.Join(b.home, "out"),
		"unlock", "rm laptop --yes --passphrase-file " + pass, "lock",
	} {
		r := b.ok(append(strings.Fields(args), "--json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.errors != "" {
			t.Errorf("%s: %v\n%s%s", args, err, r.out, r.errors)
		}
	}
}

// TestOtherWordsForACommand are those that people try first.
func TestOtherWordsForACommand(t *testing.T) {
	b := newBench(t).withDaemon()
	for said, want := range map[string]string{
		"ls": "list", "delete": "rm", "remove": "rm", "import": "add", "start": "up", "stop": "down",
	} {
		got, meant := b.ok(said, "--help"), b.ok(want, "--help")
		if got.out != meant.out {
			t.Errorf("%s isn't %s", said, want)
		}
	}
}

func TestWrongNumberOfArguments(t *testing.T) {
	b := newBench(t).withDaemon()
	b.fails(2, "got nothing, want: vigilctl rm KEY [--yes] [--vault NAME]", "rm")
	b.fails(2, "got 2 arguments, want: vigilctl show KEY", "show", "a", "b")
	b.fails(2, "got 1 argument, want: vigilctl lock", "lock", "default")
}
