package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

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
	b.fails(1, "not a regular file", "add", b.home)
	b.fails(1, "not a private key", "add", b.file("text", "hello"))
}

func TestRmPinsWhatItRemoves(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop")
	b.fails(2, "this permanently removes 256 SHA256:", "rm", "laptop")
	b.fails(2, "no terminal to ask for the vault's passphrase", "rm", "laptop", "--yes")
	by := []string{"--passphrase-file", b.file("pass", "correct horse")}
	b.fails(2, "no terminal to ask whether to remove", append(by, "rm", "laptop")...)
	b.fails(4, "wrong passphrase", "rm", "laptop", "--yes", "--passphrase-file", b.file("wrong", "guess"))
	if r := b.ok(append(by, "rm", "laptop", "--yes")...); !strings.Contains(r.errors, "Saved on this device only") {
		t.Errorf("a pending removal says %q", r.errors)
	}
	b.fails(1, `no key "laptop"`, append(by, "rm", "laptop", "--yes")...)
}

// TestEditAsksOnlyIfItLoosens: and then says what, and asks for nothing else.
func TestEditAsksOnlyIfItLoosens(t *testing.T) {
	b := newBench(t).withDaemon()
	b.ok("generate", "laptop")
	b.ok("edit", "laptop", "--confirm")
	b.fails(2, `this change of key "laptop" lets it do more: confirm is lifted; there is no terminal`, "edit", "laptop", "--confirm=false")
	b.fails(4, "wrong passphrase", "edit", "laptop", "--confirm=false", "--passphrase-file", b.file("wrong", "guess"))
	b.ok("edit", "laptop", "--confirm=false", "--passphrase-file", b.file("pass", "correct horse"))
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
		"--allow-sha1":            {AllowSHA1: new(true)},
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
		var b strings.Builder
		(&app{several: true}).printKeyLine(&b, "", k)
		if got := strings.TrimSuffix(b.String(), "\n"); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestAKeysVaultIsNamedAmongSeveral: with one vault there is nothing to tell apart.
func TestAKeysVaultIsNamedAmongSeveral(t *testing.T) {
	b := newBench(t).withDaemon()
	if out := b.ok("generate", "laptop").out; strings.Contains(out, "[") {
		t.Errorf("with one vault: %s", out)
	}
	b.daemon.several.Store(true)
	for _, command := range []string{"list", "edit laptop --comment c", "rm laptop --yes --passphrase-file " + b.file("pass", "correct horse")} {
		if out := b.ok(strings.Fields(command)...).out; !strings.Contains(out, "  [vault default") {
			t.Errorf("%s, with two vaults: %s", command, out)
		}
	}
}
