package paths_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/paths"
)

func TestFoldersFromTheEnvironment(t *testing.T) {
	full := []string{
		"HOME=/home/ada", "XDG_CONFIG_HOME=/c", "XDG_DATA_HOME=/d", "XDG_STATE_HOME=/s", "XDG_RUNTIME_DIR=/run/user/7",
	}
	for _, tc := range []struct {
		name    string
		environ []string
		want    paths.Paths
		err     error
	}{
		{
			"only HOME",
			[]string{"HOME=/home/ada"},
			paths.Paths{"/home/ada", "/home/ada/.config/vigil", "/home/ada/.local/share/vigil", "/home/ada/.local/state/vigil", "/home/ada/.local/state/vigil/run"},
			nil,
		},
		{"every variable", full, paths.Paths{"/home/ada", "/c/vigil", "/d/vigil", "/s/vigil", "/run/user/7/vigil"}, nil},
		{"every variable and no HOME", full[1:], paths.Paths{"", "/c/vigil", "/d/vigil", "/s/vigil", "/run/user/7/vigil"}, nil},
		{
			"relative and empty values count as unset",
			[]string{"HOME=/h", "XDG_CONFIG_HOME=c", "XDG_DATA_HOME=", "XDG_STATE_HOME=./s", "XDG_RUNTIME_DIR=run"},
			paths.Paths{"/h", "/h/.config/vigil", "/h/.local/share/vigil", "/h/.local/state/vigil", "/h/.local/state/vigil/run"},
			nil,
		},
		{
			"the last value counts",
			[]string{"HOME=/a", "HOME=/b/"},
			paths.Paths{"/b", "/b/.config/vigil", "/b/.local/share/vigil", "/b/.local/state/vigil", "/b/.local/state/vigil/run"},
			nil,
		},
		{"nothing", nil, paths.Paths{}, paths.ErrNoHome},
		{"relative HOME", []string{"HOME=home"}, paths.Paths{}, paths.ErrNoHome},
		{"no HOME and one variable missing", full[2:], paths.Paths{}, paths.ErrNoHome},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := paths.FromEnviron(tc.environ)
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Fatalf("got %+v, %v\nwant %+v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	p, err := paths.FromEnviron([]string{"HOME=/h", "XDG_RUNTIME_DIR=/r"})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		p.ConfigFile():        "/h/.config/vigil/config.toml",
		p.VaultConfig("work"): "/h/.config/vigil/vaults.d/work.toml",
		p.Vault("work"):       "/h/.local/share/vigil/vaults/work/vault.jsonl",
		p.Keyring("work"):     "/h/.local/share/vigil/keyrings/work",
		p.Device():            "/h/.local/share/vigil/device",
		p.AuditLog():          "/h/.local/state/vigil/audit.jsonl",
		p.Log():               "/h/.local/state/vigil/vigild.log",
		p.AgentSocket():       "/r/vigil/agent.sock",
		p.ControlSocket():     "/r/vigil/control.sock",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	p := paths.Paths{Home: "/home/ada"}
	for in, want := range map[string]string{
		"~":         "/home/ada",
		"~/sync/v":  "/home/ada/sync/v",
		"~bob/v":    "/base/~bob/v",
		"/a/../b":   "/b",
		"rel/v":     "/base/rel/v",
		"$HOME/v":   "/base/$HOME/v",
		"../beside": "/beside",
	} {
		if got, err := p.Expand("/base", in); err != nil || got != want {
			t.Errorf("Expand(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := (paths.Paths{}).Expand("/base", "~/v"); !errors.Is(err, paths.ErrNoHome) {
		t.Errorf("without HOME: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "0", "default", "work-2", "a-", strings.Repeat("x", 32)} {
		if err := paths.CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "-a", "A", "a_b", "a.b", "..", "a/b", "ä", "a b", "a\n", strings.Repeat("x", 33)} {
		if err := paths.CheckName(name); !errors.Is(err, paths.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := paths.CheckName(strings.Repeat("x", 1<<20)); len(err.Error()) > 200 {
		t.Errorf("error repeats %d bytes", len(err.Error()))
	}
}

// The limit is the system's own: the longest path binds, one byte more doesn't.
func TestSocketPathLimit(t *testing.T) {
	dir := t.TempDir()
	path := func(n int) string { return filepath.Join(dir, strings.Repeat("s", n-len(dir)-1)) }
	if len(dir) > paths.MaxSocketPath-8 {
		t.Skipf("temporary folder %s is too long to test with", dir)
	}
	fits := path(paths.MaxSocketPath)
	if err := paths.CheckSocket(fits); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("unix", fits)
	if err != nil {
		t.Fatalf("bind %d bytes: %v", len(fits), err)
	}
	l.Close()

	long := path(paths.MaxSocketPath + 1)
	var tooLong *paths.SocketPathError
	if err := paths.CheckSocket(long); !errors.As(err, &tooLong) || tooLong.Limit != paths.MaxSocketPath || tooLong.Path != long {
		t.Errorf("got %v", err)
	}
	if l, err := net.Listen("unix", long); err == nil {
		l.Close()
		t.Errorf("a path of %d bytes binds", len(long))
	}
}
