package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/checkup"
	"vigil/internal/paths"
)

// place is an installation in a folder of its own, with both programs.
func place(t *testing.T) Place {
	t.Helper()
	dir := t.TempDir()
	p, err := paths.FromEnviron([]string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	for _, name := range []string{"vigild", "vigil-opener"} {
		write(t, filepath.Join(bin, name), "", 0o111)
	}
	return Place{Paths: p, Getenv: func(string) string { return "" }, Programs: bin}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// find returns the checks of a name.
func find(checks []checkup.Check, what string) (list []checkup.Check) {
	for _, c := range checks {
		if c.What == what {
			list = append(list, c)
		}
	}
	return list
}

func TestNothingIsThereYet(t *testing.T) {
	checks := Local(place(t))
	for _, c := range checks {
		if c.Detail == "" || c.Result != checkup.OK && c.Next == "" {
			t.Errorf("a line that doesn't say how it is, or what to do: %+v", c)
		}
		if c.Result == checkup.Fail && c.What != "sockets" && c.What != "seccomp" {
			t.Errorf("%+v", c)
		}
	}
	if !checkup.Failed(checks) {
		t.Error("no daemon runs, and nothing fails")
	}
}

func TestConfigError(t *testing.T) {
	p := place(t)
	write(t, p.Paths.ConfigFile(), "vaults = [\"work\"]\nlease = \"1h\"\n", 0o600)
	got := find(Local(p), "config")
	if len(got) != 1 || got[0].Result != checkup.Fail || !strings.Contains(got[0].Detail, "config.toml:2") ||
		got[0].Next != "Correct the line; docs/config.md lists every key. The daemon doesn't start with it." {
		t.Errorf("%+v", got)
	}
}

func TestProgramsThatOthersMayWriteTo(t *testing.T) {
	p := place(t)
	opener := filepath.Join(p.Programs, "vigil-opener")
	if err := os.Chmod(opener, 0o113); err != nil {
		t.Fatal(err)
	}
	got := find(Local(p), "programs")
	if len(got) != 2 || got[1].Result != checkup.Fail || got[1].Next != "`chmod go-w "+opener+"`" {
		t.Errorf("%+v", got)
	}
	if err := errors.Join(os.Chmod(opener, 0o111), os.Chmod(p.Programs, 0o707)); err != nil {
		t.Fatal(err)
	}
	got = find(Local(p), "programs")
	if len(got) != 2 || got[1].Result != checkup.Fail || got[1].Next != "`chmod go-w "+p.Programs+"`" {
		t.Errorf("its folder: %+v", got)
	}
}

func TestUnlistedVaults(t *testing.T) {
	p := place(t)
	write(t, p.Paths.ConfigFile(), "vaults = [\"work\"]\n", 0o600)
	write(t, p.Paths.VaultConfig("home"), "", 0o600)
	got := find(Local(p), "config")
	if len(got) != 2 || got[1].Result != checkup.Warn || got[1].Detail != "not served, as `vaults` leaves them out: home" ||
		got[1].Next != "Name them in `vaults` of "+p.Paths.ConfigFile()+", or remove their files from "+p.Paths.VaultConfigDir()+"." {
		t.Errorf("%+v", got)
	}
}

func TestPermissions(t *testing.T) {
	next := map[checkup.Result]string{
		checkup.Fail: "`chmod go-rwx` them, and `chown` what isn't yours.",
		checkup.Warn: "`chmod go-rwx` them.",
	}
	detail := map[checkup.Result]string{
		checkup.Fail: "other users can change files, or read what opens a vault: ",
		checkup.Warn: "other users can read: ",
	}
	for _, tc := range []struct {
		name string
		file func(paths.Paths) string
		mode os.FileMode
		want checkup.Result
	}{
		{"device key", func(p paths.Paths) string { return filepath.Join(p.Device(), "device.key") }, 0o600, checkup.OK},
		{"device key that others read", func(p paths.Paths) string { return filepath.Join(p.Device(), "device.key") }, 0o644, checkup.Fail},
		{"vault file that others read", func(p paths.Paths) string { return p.Vault("default") }, 0o644, checkup.Warn},
		{"vault file that others change", func(p paths.Paths) string { return p.Vault("default") }, 0o666, checkup.Fail},
		{"config that others read", func(p paths.Paths) string { return p.ConfigFile() }, 0o644, checkup.OK},
		{"config that others change", func(p paths.Paths) string { return p.ConfigFile() }, 0o646, checkup.Fail},
		{"log that others read", func(p paths.Paths) string { return p.Log() }, 0o640, checkup.Warn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := place(t)
			write(t, p.Paths.VaultConfig("default"), "", 0o600)
			file := tc.file(p.Paths)
			write(t, file, "", tc.mode)
			got := find(Local(p), "permissions")
			if len(got) != 1 || got[0].Result != tc.want {
				t.Fatalf("%+v, want %s", got, tc.want)
			}
			if tc.want != checkup.OK && !strings.HasPrefix(got[0].Detail, detail[tc.want]+file) || got[0].Next != next[tc.want] {
				t.Errorf("%+v, want %q", got[0], detail[tc.want]+file)
			}
		})
	}
}

func TestLocalMaster(t *testing.T) {
	p := place(t)
	write(t, p.Paths.VaultConfig("default"), "", 0o600)
	write(t, p.Paths.Vault("default"), "", 0o600)
	if got := find(Local(p), "master backup"); len(got) != 1 || got[0].Result != checkup.Fail {
		t.Errorf("without a key: %+v", got)
	}
	write(t, filepath.Join(p.Paths.Device(), "master.key"), "", 0o600)
	if got := find(Local(p), "master backup"); len(got) != 1 || got[0].Result != checkup.Warn || !strings.Contains(got[0].Next, p.Paths.Device()) {
		t.Errorf("with a key: %+v", got)
	}
	write(t, p.Paths.VaultConfig("default"), "master = \"awskms:///alias/vigil\"\n", 0o600)
	if got := find(Local(p), "master backup"); len(got) != 0 {
		t.Errorf("with a master key in a KMS: %+v", got)
	}
}

// TestSockets: each thing that can be wrong with a socket has advice of its own.
func TestSockets(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil        func(t *testing.T, p Place)
		detail, next string
	}{
		"nothing is there": {func(*testing.T, Place) {}, "there is no ", "Start the daemon: vigilctl up."},
		"a file": {
			func(t *testing.T, p Place) { write(t, p.Paths.AgentSocket(), "", 0o600) },
			"agent.sock is not a socket", "Move it away, then start the daemon: vigilctl up.",
		},
		"a socket without a server": {
			func(t *testing.T, p Place) {
				l := listen(t, p.Paths.AgentSocket())
				l.SetUnlinkOnClose(false)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			},
			"nobody answers on ", "Start the daemon: vigilctl up.",
		},
		"a file in its folder's place": {
			func(t *testing.T, p Place) { write(t, filepath.Dir(p.Paths.AgentSocket()), "", 0o600) },
			"not a directory", "Check the folders above it: that each is one, its owner and its mode.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := place(t)
			tc.spoil(t, p)
			got := find(Local(p), "sockets")[0]
			if got.Result != checkup.Fail || !strings.Contains(got.Detail, tc.detail) || got.Next != tc.next {
				t.Errorf("%+v, want %q, next %q", got, tc.detail, tc.next)
			}
		})
	}
}

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestOtherAgents: those that run, and those that ssh's configuration names.
func TestOtherAgents(t *testing.T) {
	p := place(t)
	run := filepath.Join(p.Paths.Home, "run")
	p.Getenv = func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": run}[name] }
	gcr := filepath.Join(run, "gcr", "ssh")
	listen(t, gcr)
	write(t, filepath.Join(p.Paths.Home, ".ssh", "config"), "Host a\n  IdentityAgent /x\n", 0o600)
	got := Local(p)
	for what, want := range map[string]struct{ detail, next string }{
		"other agents": {
			"other agents run: GCR (" + gcr + ")",
			"If a login sets SSH_AUTH_SOCK to one of them, stop it from doing so, or set it in your shell's start-up file: vigilctl env.",
		},
		"ssh config": {
			"~/.ssh/config names another agent: IdentityAgent /x",
			"Remove them, or name " + p.Paths.AgentSocket() + " there: ssh asks that agent, whatever SSH_AUTH_SOCK says.",
		},
		"SSH_AUTH_SOCK": {
			"not set in this shell: ssh asks no agent", `Run: eval "$(vigilctl env)", and put it into your shell's start-up file.`,
		},
	} {
		if c := find(got, what); len(c) != 1 || c[0].Result != checkup.Warn || c[0].Detail != want.detail || c[0].Next != want.next {
			t.Errorf("%s: %+v, want %+v", what, c, want)
		}
	}
}

func TestIdentityAgents(t *testing.T) {
	dir := t.TempDir()
	ours := filepath.Join(dir, "agent.sock")
	config := filepath.Join(dir, "config")
	write(t, config, strings.Join([]string{
		"Host a", "  IdentityAgent " + ours, "Host b", "\tidentityagent=\"~/other.sock\"", "Host c", "IdentityAgent SSH_AUTH_SOCK",
		"Host d", "IdentityAgent $SSH_AUTH_SOCK", "# IdentityAgent /x", "Host e", "IdentityAgent none", "IdentityFile ~/x",
	}, "\n")+"\n", 0o600)
	want := []string{"identityagent=\"~/other.sock\"", "IdentityAgent none"}
	if got := identityAgents(config, ours); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := identityAgents(filepath.Join(dir, "none"), ours); got != nil {
		t.Errorf("%q", got)
	}
}
