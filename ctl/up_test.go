package main

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/control"
)

// tree lists the files below a folder, with modes and contents.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		line := path + " " + info.Mode().String() + " " + info.ModTime().String()
		if e.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += string(b)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (b *bench) exportLine() string { return "export SSH_AUTH_SOCK=" + b.paths.AgentSocket() + ";\n" }

func (b *bench) names() []string {
	b.Helper()
	var reply control.ListReply
	if err := json.Unmarshal([]byte(b.ok("list", "--json").out), &reply); err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, k := range reply.Keys {
		names = append(names, k.Name)
	}
	return names
}

func TestUpWithoutATerminalOrAPassphraseChangesNothing(t *testing.T) {
	b := newBench(t)
	before := tree(t, b.home)
	b.fails(2, "Nothing was changed", "up")
	b.fails(2, "no such file", "up", "--passphrase-file", "/nonexistent/pass")
	if after := tree(t, b.home); !slices.Equal(before, after) {
		t.Errorf("changed: %v", after)
	}
}

func TestInitStartsTheDaemon(t *testing.T) {
	b := newBench(t)
	b.fails(2, "no terminal", "init")
	b.fails(5, "not running", "status")
	b.ok("init", "--passphrase-file", b.file("pass", "correct horse\n"))
	if r := b.ok("status"); !strings.Contains(r.out, "vault default") {
		t.Error(r.out)
	}
}

func TestUpFirstRunWithoutATerminal(t *testing.T) {
	b := newBench(t)
	b.file(".ssh/id_a", "-----BEGIN RSA PRIVATE KEY-----\nMII")
	ssh := tree(t, filepath.Join(b.home, ".ssh"))
	pass := b.file("pass", "correct horse\n")
	r := b.ok("up", "--passphrase-file", pass)
	if r.out != b.exportLine() {
		t.Errorf("standard output: %q", r.out)
	}
	for _, want := range []string{"Back up the device key.", "made 256 SHA256:", "ssh-ed25519 AAAA", "without a passphrase", "/.ssh/id_a", "vigilctl env", "isn't on your PATH yet: it is in " + filepath.Dir(b.vigild)} {
		if !strings.Contains(r.errors, want) {
			t.Errorf("it doesn't say %q:\n%s", want, r.errors)
		}
	}
	if got := b.names(); !slices.Equal(got, []string{"id_ed25519"}) {
		t.Errorf("keys: %q", got)
	}

	t.Run("running and unlocked: nothing is asked", func(t *testing.T) {
		if r := b.ok("up"); r.out != b.exportLine() || strings.Contains(r.errors, "Next:") {
			t.Errorf("%q %q", r.out, r.errors)
		}
	})
	t.Run("locked: unlocks", func(t *testing.T) {
		b.ok("lock")
		b.fails(2, "no terminal", "up")
		b.fails(4, "wrong passphrase", "up", "--passphrase-file", b.file("wrong", "x"))
		b.ok("up", "--passphrase-file", pass)
	})
	t.Run("stopped: starts and unlocks, and makes no key", func(t *testing.T) {
		if r := b.ok("down"); !strings.Contains(r.out, "has stopped; locked default") {
			t.Error(r.out)
		}
		if r := b.ok("down"); !strings.Contains(r.out, "not running") {
			t.Error(r.out)
		}
		b.fails(2, "no terminal", "up")
		b.fails(5, "not running", "status")
		b.ok("up", "--passphrase-file", pass)
		if got := b.names(); len(got) != 1 {
			t.Errorf("keys: %q", got)
		}
	})
	if after := tree(t, filepath.Join(b.home, ".ssh")); !slices.Equal(ssh, after) {
		t.Errorf("~/.ssh changed: %v", after)
	}
}

func TestUpImports(t *testing.T) {
	pass := "correct horse"
	t.Run("all, and goes on after a bad one", func(t *testing.T) {
		b := newBench(t)
		b.file(".ssh/id_a", "-----BEGIN RSA PRIVATE KEY-----\nfake")
		b.file(".ssh/id_b", "-----BEGIN OPENSSH PRIVATE KEY-----\nfake protected")
		b.file(".ssh/config", "Host *")
		b.file(".ssh/id_c", "-----BEGIN DSA PRIVATE KEY-----")
		b.file(".ssh/id_a.pub", "ssh-ed25519 AAAA")
		b.file(".ssh/lost.pub", "ssh-ed25519 AAAA")
		r := b.ok("up", "--import", "all", "--passphrase-file", b.file("pass", pass))
		if r.out != b.exportLine() {
			t.Errorf("standard output: %q", r.out)
		}
		for _, want := range []string{
			"not imported: " + b.home + "/.ssh/id_b: ", "vigilctl add " + b.home + "/.ssh/id_b` asks for its passphrase",
			"not imported: " + b.home + "/.ssh/id_c: not a private key file\n  It must be a private key.",
			"not imported, because they don't begin as private keys do: config, lost.pub\n",
		} {
			if !strings.Contains(r.errors, want) {
				t.Errorf("it doesn't say %q:\n%s", want, r.errors)
			}
		}
		if got := b.names(); !slices.Equal(got, []string{"id_a"}) {
			t.Errorf("keys: %q", got)
		}
	})
	t.Run("a file that is named must be a key", func(t *testing.T) {
		b := newBench(t)
		bad, locked, good := b.file("bad", "fake"), b.file("locked", "fake protected"), b.file("good", "fake key")
		b.fails(1, "2 keys not imported; the first is "+bad, "up", "--import", bad, "--import", locked, "--import", good, "--passphrase-file", b.file("pass", pass))
		b.fails(4, "`vigilctl add "+locked+"` tries again.", "up", "--import", locked)
		if got := b.names(); !slices.Equal(got, []string{"good"}) {
			t.Errorf("keys: %q", got)
		}
	})
	t.Run("names that are taken", func(t *testing.T) {
		b := newBench(t)
		b.ok("up", "--import", b.file("a/my key", "fake key"), "--import", b.file("b/my-key", "fake key"), "--passphrase-file", b.file("pass", pass))
		r := b.ok("up", "--import", b.file("c/my  key", "fake key"))
		if got := b.names(); !slices.Equal(got, []string{"my-key", "my-key-2", "my-key-3"}) {
			t.Errorf("keys: %q", got)
		}
		var list control.ListReply
		if err := json.Unmarshal([]byte(b.ok("list", "--json").out), &list); err != nil {
			t.Fatal(err)
		}
		b.file("a/my key.pub", list.Keys[0].PublicKey)
		if r = b.ok("up", "--import", filepath.Join(b.home, "a/my key")); !strings.Contains(r.errors, "is in the vault already, as my-key") {
			t.Error(r.errors)
		}
	})
	t.Run("none, and makes one", func(t *testing.T) {
		b := newBench(t)
		b.file(".ssh/id_a", "-----BEGIN RSA PRIVATE KEY-----\nfake")
		b.ok("up", "--import", "none", "--passphrase-file", b.file("pass", pass))
		if got := b.names(); !slices.Equal(got, []string{"id_ed25519"}) {
			t.Errorf("keys: %q", got)
		}
	})
	t.Run("files, on a later run too", func(t *testing.T) {
		b := newBench(t)
		key := b.file("one", "fake key")
		b.ok("up", "--import", key, "--passphrase-file", b.file("pass", pass))
		b.ok("up", "--import", b.file("two", "fake key"), "--import", b.file("three", "fake key"))
		if got := b.names(); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Errorf("keys: %q", got)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		b := newBench(t)
		key := b.file(".ssh/one", "-----BEGIN RSA PRIVATE KEY-----\nfake")
		var got upResult
		r := b.ok("up", "--import", "all", "--json", "--passphrase-file", b.file("pass", pass))
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.errors != "" {
			t.Fatal(err, r.errors)
		}
		if !got.Started || !got.Created || len(got.Imported) != 1 || got.Plaintext[0] != key || got.Env["SSH_AUTH_SOCK"] == "" {
			t.Errorf("%+v", got)
		}
	})
}

// TestUpResumes interrupts the first run at each of its steps, and lets the next run
// finish it.
func TestUpResumes(t *testing.T) {
	for op, request := range map[string]any{
		"init": &control.InitRequest{}, "add": &control.AddRequest{}, "list": &control.ListRequest{}, "generate": &control.GenerateRequest{},
	} {
		t.Run(op, func(t *testing.T) {
			b := newBench(t).withDaemon()
			b.daemon.become(control.VaultMissing)
			b.daemon.failWith(request, control.Errorf(control.CodeInterrupted, "", "power cut"))
			args := []string{"up", "--passphrase-file", b.file("pass", "p")}
			want := []string{"id_ed25519"}
			if op == "add" {
				args = append(args, "--import", b.file("one", "fake key"), "--import", b.file("two", "fake key"))
				want = []string{"one", "two"}
			}
			b.fails(1, "power cut", args...)
			b.daemon.failWith(request, nil)
			b.ok(args...)
			if got := b.names(); !slices.Equal(got, want) {
				t.Errorf("keys: %q, want %q", got, want)
			}
			b.ok("rm", want[0], "--yes", "--passphrase-file", b.file("again", b.daemon.passphrase))
			b.ok("up") // the first run has ended: an empty vault stays so
			if got := b.names(); len(got) != len(want)-1 {
				t.Errorf("keys after a later run: %q", got)
			}
		})
	}
}

func TestUpUnlocksWhatStaysLocked(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.become(control.VaultMissing)
	b.daemon.staysLocked = true
	b.ok("up", "--passphrase-file", b.file("pass", "p"))
	if b.daemon.is() != control.VaultUnlocked {
		t.Error("it is locked")
	}
}

func TestUpRestartsADaemonOfAnotherBuild(t *testing.T) {
	b := newBench(t)
	pass := b.file("pass", "correct horse")
	b.ok("up", "--passphrase-file", pass)
	b.ok("down")
	b.environ = append(b.environ, fakeVariable+"=other build")
	b.fails(5, "", "up", "--passphrase-file", pass) // it starts one of another build, says so,
	b.fails(5, "not running", "list")               // and leaves none behind
	a := b.app(io.Discard, io.Discard)
	a.paths = b.paths
	if err := a.startDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.environ = append(b.environ, fakeVariable+"=serves")
	b.fails(5, "a restart is pending", "list")
	b.fails(2, "no terminal", "up") // it would lock: nothing is stopped
	b.fails(5, "a restart is pending", "list")
	r := b.ok("up", "--passphrase-file", pass)
	if !strings.Contains(r.errors, "This locks the vaults") {
		t.Errorf("it says %q", r.errors)
	}
	b.ok("list")
}

func TestUpSaysWhyTheDaemonDoesNotStart(t *testing.T) {
	b := newBench(t)
	pass := b.file("pass", "x")
	b.environ = append(b.environ, fakeVariable+"=fails")
	b.fails(5, "config.toml line 3: no such key", "up", "--passphrase-file", pass)
	for name, path := range map[string]string{
		"there is no none in":            filepath.Join(b.home, "none"),
		"is not a file, but a folder":    b.home,
		"can be written by another user": b.file("writable", ""),
	} {
		if name[0] == 'c' {
			if err := os.Chmod(path, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		b.vigild = path
		if r := b.run("up", "--passphrase-file", pass); r.status == 0 || !strings.Contains(r.errors, name) {
			t.Errorf("%s: exit status %d, %s", path, r.status, r.errors)
		}
	}
}

func TestUpInterruptedWhileTheDaemonStartsLeavesNone(t *testing.T) {
	b := newBench(t)
	b.environ = append(b.environ, fakeVariable+"=silent")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := b.runContext(ctx, "up", "--passphrase-file", b.file("pass", "x"))
	if r.status != 1 || !strings.Contains(r.errors, "interrupted") {
		t.Errorf("exit status %d, %s", r.status, r.errors)
	}
}

func TestKeyFilesAreKnownByTheirFirstBytes(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"plain-openssh":      "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n",
		"locked-openssh":     "-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBBBBBBBB\r\n",
		"plain-rsa":          "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n",
		"locked-rsa":         "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n",
		"locked-rsa-dos":     "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n",
		"plain-ec":           "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n",
		"plain-pkcs8":        "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n",
		"locked-pkcs8":       "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBO\n",
		"plain-ppk":          "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nComment: x\r\n",
		"locked-ppk":         "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: aes256-cbc\n",
		"plain-dsa":          "-----BEGIN DSA PRIVATE KEY-----\nMIIB\n",
		"plain-rsa-dos":      "-----BEGIN RSA PRIVATE KEY-----\r\nMIIEowIBAAKCAQEA\r\n",
		"token-key":          "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAASgAAABpzay1zc2\n",
		"pasted-indented":    "\n        -----BEGIN OPENSSH PRIVATE KEY-----\n        b3BlbnNzaC1rZXktdjEA",
		"pasted-in-quotes":   `"-----BEGIN PRIVATE KEY-----\nMC4CAQAw`,
		"pasted-as-mail":     "> -----BEGIN ENCRYPTED PRIVATE KEY-----\n> MC4CAQAw",
		"pasted-one-line":    "-----BEGIN EC PRIVATE KEY----- MHcCAQEEIAAA",
		"pasted-ppk":         "    PuTTY-User-Key-File-2: ssh-rsa\n    Encryption: none",
		"indented-public":    "  -----BEGIN PUBLIC KEY-----\n  MCow",
		"tpm-key":            "-----BEGIN TSS2 PRIVATE KEY-----\nMIHyBgZngQUK\n",
		"lost.pub":           "-----BEGIN RSA PRIVATE KEY-----\n",
		"plain-rsa.pub":      "ssh-rsa AAAA",
		"plain-rsa-cert.pub": "ssh-rsa-cert-v01@openssh.com AAAA",
		"public.pem":         "-----BEGIN PUBLIC KEY-----\nMCow\n",
		"config":             "Host *\n",
		"empty":              "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	var got []string
	found, others := findKeyFiles(dir)
	for _, f := range found {
		name := filepath.Base(f.path)
		got = append(got, name)
		start, _, _ := strings.Cut(name, "-")
		want := map[string]protection{"plain": plaintext, "locked": encrypted, "token": securityKey, "tpm": tpmKey, "pasted": pasted}[start]
		if f.protection != want {
			t.Errorf("%s: it is %s", name, f.protection)
		}
		if (f.protect != "") != (want == plaintext) && name != "plain-dsa" && name != "plain-rsa-dos" {
			t.Errorf("%s: to set a passphrase: %q", name, f.protect)
		}
	}
	if want := []string{"config", "empty", "indented-public", "lost.pub", "public.pem"}; !slices.Equal(others, want) {
		t.Errorf("other files: %q, want %q", others, want)
	}
	want := []string{
		"locked-openssh", "locked-pkcs8", "locked-ppk", "locked-rsa", "locked-rsa-dos",
		"pasted-as-mail", "pasted-in-quotes", "pasted-indented", "pasted-one-line", "pasted-ppk",
		"plain-dsa", "plain-ec", "plain-openssh", "plain-pkcs8", "plain-ppk", "plain-rsa", "plain-rsa-dos", "token-key", "tpm-key",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
