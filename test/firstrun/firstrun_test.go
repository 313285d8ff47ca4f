// Package firstrun does what a newcomer does: builds a fresh copy of the tree and uses
// it, under each umask that systems have, in a folder with a blank in its name, with a
// long home and without XDG_RUNTIME_DIR.
package firstrun

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/printable"
	"vigil/internal/testing/sshtest"
)

// longHome is the length of the home's path in bytes: a socket's path in its state
// folder is longer than any that a system takes.
const longHome = 100

func TestTheMainJobUnderEachUmask(t *testing.T) {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, umask := range []string{"002", "022", "027", "077"} {
		t.Run(umask, func(t *testing.T) {
			place := newPlace(t)
			copyTree(t, root, place, umask)
			// By the tests' own user, who has a build cache, and given away then.
			build := command(umask, "cd "+printable.Word(place)+" && make build")
			build.Env = append(os.Environ(), "MAKEFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("make build: %v\n%s", err, out)
			}
			modes(t, filepath.Join(place, "bin"))
			if err := sshtest.Give(filepath.Dir(place)); err != nil {
				t.Fatal(err)
			}
			job(t, place, umask)
		})
	}
}

// TestMakeNamesTheGoItNeeds, whether there is none or an older one.
func TestMakeNamesTheGoItNeeds(t *testing.T) {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, program, want string }{
		{"none", "", "there is no go on the PATH"},
		{"before toolchains", "echo go1.19.8", "this is go1.19.8"},
		{"a release before", "echo go1.25.9", "this is go1.25.9"},
		{"one that can't fetch another", "echo 'go: download go1.26: no network' >&2; exit 1", "can't become it (go: download"},
		{"a later one", "echo go1.100.1 X:runtimesecret", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			for _, tool := range []string{"sh", "sed", "sort", "head", "dirname"} {
				path, err := exec.LookPath(tool)
				if err == nil {
					err = os.Symlink(path, filepath.Join(bin, tool))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if c.program != "" {
				if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+c.program+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("sh", filepath.Join(root, "tools", "needgo.sh"))
			cmd.Env = []string{"PATH=" + bin}
			out, err := cmd.CombinedOutput()
			if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// newPlace returns a folder to be made, with a blank in its name. The folder above it is
// removed with all it holds when the test ends.
func newPlace(t *testing.T) string {
	t.Helper()
	world, err := os.MkdirTemp("/tmp", "vf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(world) })
	if err := os.Chmod(world, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(world, "a clone")
}

// copyTree copies what git has or would add, as a clone under umask makes it.
func copyTree(t *testing.T, root, place, umask string) {
	t.Helper()
	c := command(umask, "cd "+printable.Word(root)+" && mkdir "+printable.Word(place)+
		" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-preserve=mode -t "+printable.Word(place)+" 2>&1")
	if out, err := c.CombinedOutput(); err != nil && !strings.Contains(string(out), "No such file") { // removed, not committed
		t.Fatalf("copy the tree: %v\n%s", err, out)
	}
	if err := os.Chmod(filepath.Join(place, ".ci", "run"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// modes checks that nobody else can change or read what was built.
func modes(t *testing.T, bin string) {
	t.Helper()
	for name, want := range map[string]fs.FileMode{"": 0o755, "vigild": 0o111, "vigil-opener": 0o111, "vigilctl": 0o111, "vigil-meter": 0o111} {
		info, err := os.Stat(filepath.Join(bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("bin/%s has mode %04o, want %04o", name, got, want)
		}
	}
}

// job makes a vault and a key, lists it with ssh-add, signs, locks and stops.
func job(t *testing.T, place, umask string) {
	t.Helper()
	home := filepath.Join(filepath.Dir(place), "home")
	home += strings.Repeat("-", longHome-len(home))
	run := func(script string) string {
		t.Helper()
		c := command(umask, `mkdir -p "$HOME" && cd "$HOME" && PATH=`+printable.Word(filepath.Join(place, "bin"))+`:$PATH && `+script)
		c.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "SHELL=/bin/sh"}
		if err := sshtest.Unprivileged(c); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Run(); err != nil {
			t.Fatalf("%s: %v\n%s%s", script, err, &out, &errs)
		}
		return out.String()
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sshtest.Give(filepath.Dir(place)); err != nil {
		t.Fatal(err)
	}
	run("echo correct horse >pass")
	defer run(`vigilctl down && eval "$(vigilctl env)" && rmdir "${SSH_AUTH_SOCK%/*}"`) // in /tmp
	run("vigilctl up --passphrase-file pass")
	if keys := run(`eval "$(vigilctl env)" && ssh-add -l`); !strings.Contains(keys, "ED25519") {
		t.Errorf("ssh-add lists %q", keys)
	}
	run(`eval "$(vigilctl env)" && vigilctl show id_ed25519 --public >key.pub && echo text | ssh-keygen -q -Y sign -f key.pub -n file >sig`)
	run("vigilctl lock && ! vigilctl doctor | grep -E '^(fail|warn) .*(permissions|programs)'")
	if umask != "002" {
		return
	}
	// A program that others can change: said so before the passphrase is asked for, on a
	// terminal, and no daemon is left behind.
	run("vigilctl down && chmod o+w " + printable.Word(filepath.Join(place, "bin", "vigil-opener")))
	said := run("! script -qec 'vigilctl up' shown </dev/null && cat shown && ! vigilctl status 2>/dev/null")
	said = strings.Join(strings.Fields(said), " ") // a terminal's lines are broken
	if !strings.Contains(said, "can be written by another user") || !strings.Contains(said, "chmod go-w '"+place) || strings.Contains(said, "Passphrase of") {
		t.Errorf("up says %q", said)
	}
}

// command returns a shell's command under a umask.
func command(umask, script string) *exec.Cmd {
	return exec.Command("sh", "-c", fmt.Sprintf("umask %s && %s", umask, script))
}
