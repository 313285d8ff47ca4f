package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/config"
	"vigil/internal/control"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestHelp holds every command's help text: it is read more than any document.
func TestHelp(t *testing.T) {
	b := newBench(t)
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() != "help" {
			name := strings.ReplaceAll(strings.TrimPrefix(c.CommandPath(), "vigilctl "), " ", "-")
			t.Run(name, func(t *testing.T) {
				if c.Short == "" || c.Long == "" || c.Example == "" {
					t.Error("short text, long text or example is missing")
				}
				args := append(strings.Fields(c.CommandPath())[1:], "--help")
				got := b.ok(args...).out
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
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{stdin: b.stdin}).root())
}

func TestUsageErrorsExitWith2BeforeAnythingHappens(t *testing.T) {
	b := newBench(t) // no daemon: whoever gets as far as that exits with 5
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
		"refresh", "why", "reload",
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
		b.daemon.failWith(control.OpGenerate, control.Errorf(code, "Do this.", "it is so"))
		b.fails(status, "vigilctl: it is so\n  Do this.\n", "generate", "k")
	}
}

func TestErrorsAsJSON(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.failWith(control.OpList, control.Errorf(control.CodeLocked, "Unlock it.", "vault <x> is locked"))
	for name, tc := range map[string]struct {
		args string
		want map[string]string
	}{
		"the daemon's":  {"list --json", map[string]string{"code": "locked", "message": "vault <x> is locked", "next": "Unlock it."}},
		"of usage":      {"list --nonsense --json", map[string]string{"code": "usage", "message": "unknown flag: --nonsense", "next": "`vigilctl list --help` shows how."}},
		"without next":  {"why --limit -1 --json", map[string]string{"code": "usage", "message": "--limit is below 0"}},
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

// TestEveryCommandPrintsJSON also holds that stderr is silent then.
func TestEveryCommandPrintsJSON(t *testing.T) {
	b := newBench(t).withDaemon()
	pass := b.file("pass", "correct horse\n")
	key := b.file("id_a", "fake key")
	for _, args := range []string{
		"status", "list", "generate laptop", "show laptop", "add " + key, "edit laptop --comment c", "why", "reload", "env", "version",
		"export laptop --no-passphrase --passphrase-file " + pass + " --output " + filepath.Join(b.home, "out"),
		"unlock", "rm laptop --yes", "lock",
	} {
		r := b.ok(append(strings.Fields(args), "--json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.errors != "" {
			t.Errorf("%s: %v\n%s%s", args, err, r.out, r.errors)
		}
	}
}

func TestAFileWithThePassphraseIsPassedOnUnread(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.become(control.VaultLocked)
	passphrase := strings.Repeat("long ", 1<<18) // a pipe holds 64 KiB
	b.daemon.mu.Lock()
	b.daemon.passphrase = passphrase
	b.daemon.mu.Unlock()
	t.Run("file", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		b.ok("unlock", "--passphrase-file", b.file("pass", passphrase+"\n"))
	})
	t.Run("descriptor that is a pipe", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() { defer w.Close(); _, _ = io.WriteString(w, passphrase) }()
		b.ok("unlock", "--passphrase-fd", itoa(r.Fd()))
	})
	t.Run("standard input", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		f, err := os.Open(filepath.Join(b.home, "pass"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		before := b.stdin
		b.stdin = f
		b.ok("unlock", "--passphrase-file", "-")
		b.stdin = before
	})
	t.Run("nobody reads it when the daemon doesn't", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		b.daemon.failWith(control.OpUnlock, control.Errorf(control.CodeRevoked, "", "revoked"))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.WriteString(w, "untouched"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		b.fails(7, "revoked", "unlock", "--passphrase-fd", itoa(r.Fd()))
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "untouched" {
			t.Errorf("left in the pipe: %q, %v", rest, err)
		}
	})
}

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }

func TestPassphraseSourcesThatCannotBe(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.become(control.VaultLocked)
	b.fails(2, "there is no terminal to ask for the vault's passphrase", "unlock")
	b.fails(2, "descriptor 987", "unlock", "--passphrase-fd", "987")
	b.fails(2, "no such file", "unlock", "--passphrase-file", "/nonexistent/pass")
	out, err := os.Create(filepath.Join(b.home, "writable"))
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	w, err := os.OpenFile(out.Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b.fails(2, "not open for reading", "unlock", "--passphrase-fd", itoa(w.Fd()))
	if b.daemon.is() != control.VaultLocked {
		t.Error("it was unlocked")
	}
}

func TestUnlockStates(t *testing.T) {
	b := newBench(t).withDaemon()
	if r := b.ok("unlock"); !strings.Contains(r.out, "was unlocked already") {
		t.Errorf("unlocked: %s", r.out)
	}
	b.daemon.become(control.VaultMissing)
	b.fails(1, "there is no vault default", "unlock")
	b.daemon.become(control.VaultDamaged)
	b.fails(1, "vault default", "unlock")
	b.fails(1, "there is no vault other", "unlock", "--vault", "other")
}

func TestTheDefaultVaultsName(t *testing.T) {
	if defaultVault != config.DefaultVault {
		t.Errorf("%q here, %q in the config", defaultVault, config.DefaultVault)
	}
}

func TestInitNeverReplaces(t *testing.T) {
	b := newBench(t).withDaemon()
	pass := b.file("pass", "new one")
	b.fails(1, "nothing was changed", "init", "--passphrase-file", pass)
	b.daemon.become(control.VaultMissing)
	b.ok("init", "--passphrase-file", pass, "--kdf-memory", "512", "--master", "local")
	got := b.last().(*control.InitRequest)
	if got.KDF.MemoryMiB != 512 || got.Master != "local" || got.Unlock || b.seen("passphrase") != "new one" {
		t.Errorf("request %+v with %q", got, b.seen("passphrase"))
	}
}

func TestAdd(t *testing.T) {
	b := newBench(t).withDaemon()
	key := b.file("id_ed25519", "fake key")
	cert := b.file("id-cert.pub", "a certificate")
	b.ok("add", key, "--host", "a", "--host", "b,c", "--tag", "t", "--certificate", cert)
	got := b.last().(*control.AddRequest)
	if got.Name != "id_ed25519" || !reflect.DeepEqual(got.Hosts, []string{"a", "b,c"}) || b.seen("certificate") != "a certificate" {
		t.Errorf("request %+v", got)
	}
	locked := b.file("locked", "fake key protected")
	b.fails(4, "has a passphrase, and there is no terminal", "add", locked)
	b.fails(4, "wrong or missing", "add", locked, "--key-passphrase-file", b.file("kp", "nope"))
	b.ok("add", locked, "--key-passphrase-file", b.file("kp", "let me in\n"))
	b.fails(1, "no such file", "add", "/nonexistent/key")
	b.fails(1, "is a folder", "add", b.home)
	b.fails(1, "not a private key", "add", b.file("text", "hello"))
}

func TestRmPinsWhatItRemoves(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop")
	b.fails(2, "no terminal", "rm", "laptop")
	if r := b.ok("rm", "laptop", "--yes"); !strings.Contains(r.errors, "Saved on this device only") {
		t.Errorf("a pending removal says %q", r.errors)
	}
	b.fails(1, `no key "laptop"`, "rm", "laptop", "--yes")
}

func TestEditSendsOnlyWhatIsNamed(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop")
	hosts := b.file("known_hosts", "example.org ssh-ed25519 "+testKey+"\n")
	for args, want := range map[string]control.EditRequest{
		"--name n":                {Name: new("n")},
		"--comment=":              {Comment: new("")},
		"--host a --host b":       {Hosts: &[]string{"a", "b"}},
		"--host=":                 {Hosts: &[]string{}},
		"--confirm":               {Confirm: new(true)},
		"--confirm=false":         {Confirm: new(false)},
		"--no-certificate":        {DropCertificate: true},
		"--keep r":                {Keep: "r"},
		"--anywhere":              {Destinations: &[]control.Destination{}},
		"--tag t --vault default": {Tags: &[]string{"t"}, Vault: "default"},
		"--destination git@example.org --known-hosts " + hosts: {Destinations: &[]control.Destination{
			{To: control.Hop{User: "git", Host: "example.org", Keys: []control.HostKey{{Blob: decode64(t, testKey)}}}},
		}},
	} {
		want.Key = "laptop"
		b.ok(append([]string{"edit", "laptop"}, strings.Fields(args)...)...)
		if got := b.last().(*control.EditRequest); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: sent %+v, want %+v", args, *got, want)
		}
	}
}

func TestExport(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop")
	pass, kp := b.file("pass", "correct horse"), b.file("kp", "new")
	out := filepath.Join(b.home, "out")
	args := []string{"export", "laptop", "--output", out, "--passphrase-file", pass, "--key-passphrase-file", kp}
	b.ok(args...)
	content, err := os.ReadFile(out)
	if err != nil || string(content) != "private laptop under \"new\"\n" {
		t.Errorf("file holds %q, %v", content, err)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	b.fails(1, "exists; nothing was changed", args...)
	b.ok(append(args, "--force")...)
	b.fails(4, "wrong passphrase", "export", "laptop", "--output", out, "--force", "--no-passphrase", "--passphrase-file", kp)
	if after, _ := os.ReadFile(out); string(after) != string(content) {
		t.Errorf("a failed export changed the file to %q", after)
	}
	if left, _ := filepath.Glob(filepath.Join(b.home, ".vigil-export-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	b.stdout, err = os.Create(filepath.Join(b.home, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.stdout.Close()
	b.ok("export", "laptop", "--output", "-", "--no-passphrase", "--passphrase-file", pass)
	if content, _ := os.ReadFile(b.stdout.Name()); string(content) != "private laptop under \"\"\n" {
		t.Errorf("standard output holds %q", content)
	}
}

func TestShowPrintsTheLineFirst(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop", "--comment", "me@here\x1b[31m")
	full, line := b.ok("show", "laptop").out, b.ok("show", "laptop", "--public").out
	if !strings.HasPrefix(line, "ssh-ed25519 AAAA") || !strings.HasSuffix(line, " me@here?[31m\n") || !strings.HasPrefix(full, line) {
		t.Errorf("line %q, show %q", line, full)
	}
	for _, want := range []string{"\nSHA256      ", "\nMD5         ", "\nid          "} {
		if !strings.Contains(full, want) {
			t.Errorf("show lacks %q:\n%s", want, full)
		}
	}
}

func TestOutputCannotCommandTheTerminal(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "evil\x1b]0;x\x07", "--comment", "a\nb\u202e")
	b.daemon.failWith(control.OpReload, control.Errorf(control.CodeFailed, "do\x1b[2J", "bad\x07 thing\nline two"))
	for _, r := range []result{b.ok("list"), b.ok("why"), b.run("reload")} {
		if strings.ContainsAny(r.out+r.errors, "\x1b\x07\u202e") {
			t.Errorf("%q", r.out+r.errors)
		}
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	out := newBench(t).withDaemon().ok("status").out
	for _, want := range []string{"vault default: unlocked", "can be read by other programs of this user", "KMS calls: 0 GenerateDataKey"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

func TestRefreshReportsEveryVaultAndFailsWithTheFirstFailure(t *testing.T) {
	r := newBench(t).withDaemon().fails(6, "vault team: no answer from s3", "refresh")
	if r.out != "vault default: nothing new (epoch 4)\nvault team: not refreshed\n" {
		t.Errorf("printed %q", r.out)
	}
}

func TestRefreshFailure(t *testing.T) {
	good := control.RefreshResult{Vault: "a"}
	locked := control.RefreshResult{Vault: "b", Error: control.Errorf(control.CodeLocked, "", "vault %q is locked", "b")}
	down := control.RefreshResult{Vault: "c", Error: control.Errorf(control.CodeUnreachable, "", "no answer")}
	for name, tt := range map[string]struct {
		results []control.RefreshResult
		want    string
	}{
		"all is well":                    {[]control.RefreshResult{good}, ""},
		"locked beside one that is open": {[]control.RefreshResult{locked, good}, ""},
		"all locked":                     {[]control.RefreshResult{locked}, `vault "b" is locked`},
		"locked and unreachable":         {[]control.RefreshResult{locked, down, good}, "vault c: no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if e := refreshFailure(tt.results); e != nil {
				got = e.Message
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVersionWithAndWithoutADaemon(t *testing.T) {
	b := newBench(t)
	if out := b.ok("version").out; !strings.Contains(out, "vigild is not running") {
		t.Error(out)
	}
	if out := b.withDaemon().ok("version").out; !strings.Contains(out, "vigild 1 (build") {
		t.Error(out)
	}
}

func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	b := newBench(t).withDaemon()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	b.stdout = full
	b.fails(1, "write to standard output", "status")
}

func TestExportLinesAreReadByTheirShells(t *testing.T) {
	for _, socket := range []string{"/run/user/1000/vigil/agent.sock", "/tmp/it's a $HOME `x` \\ \"y\"/s"} {
		for _, shell := range []string{"sh", "bash", "zsh", "fish", "csh"} {
			path, err := exec.LookPath(shell)
			if err != nil || strings.Contains(socket, "'") && shell == "csh" {
				continue
			}
			line, err := exportLine(shell, socket)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "-c", line+` printenv SSH_AUTH_SOCK`).Output()
			if err != nil || string(out) != socket+"\n" {
				t.Errorf("%s reads %s as %q, %v", shell, line, out, err)
			}
		}
	}
}

func TestEnvNeedsNoDaemon(t *testing.T) {
	b := newBench(t)
	if out := b.ok("env").out; out != "export SSH_AUTH_SOCK='"+b.paths.AgentSocket()+"';\n" {
		t.Error(out)
	}
	b.environ = append(b.environ, "SHELL=/bin/tcsh")
	if out := b.ok("env").out; !strings.HasPrefix(out, "setenv ") {
		t.Error(out)
	}
}

func TestCompletionCompletesKeys(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop", "--comment", "c")
	if out := b.ok(cobra.ShellCompRequestCmd, "show", "").out; !strings.HasPrefix(out, "laptop\tc\n") {
		t.Error(out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := b.ok("completion", shell).out; !strings.Contains(out, "vigilctl") {
			t.Errorf("%s: %q", shell, out)
		}
	}
}

func TestKeyLine(t *testing.T) {
	when := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	k := control.Key{Bits: 256, Fingerprint: "SHA256:x", Name: "n", Comment: "c", Type: "ssh-ed25519", Vault: "v"}
	for name, tc := range map[string]struct {
		change func(*control.Key)
		want   string
	}{
		"vault":       {func(*control.Key) {}, "256 SHA256:x n c (ED25519)  [vault v]"},
		"added":       {func(k *control.Key) { k.Vault, k.Name, k.Expires = "", "", &when }, "256 SHA256:x c (ED25519)  [added, until 2030-01-02 03:04:05]"},
		"locked":      {func(k *control.Key) { k.State = control.KeyLocked }, "256 SHA256:x n c (ED25519)  [vault v, locked]"},
		"certificate": {func(k *control.Key) { k.Certificate = "c" }, "256 SHA256:x n c (ED25519-CERT)  [vault v]"},
		"unknown":     {func(k *control.Key) { k.Type = "new" }, "256 SHA256:x n c (new)  [vault v]"},
		"two heads":   {func(k *control.Key) { k.Heads = 2 }, "256 SHA256:x n c (ED25519)  [vault v, edited on 2 devices]"},
		"damaged": {
			func(k *control.Key) { k.State, k.Problem = control.KeyDamaged, "bad" },
			"256 SHA256:x n c (ED25519)  [vault v, damaged]\n    bad",
		},
	} {
		k := k
		tc.change(&k)
		if got := keyLine(k); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
