package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"vigil/internal/config"
	"vigil/internal/paths"
)

// home makes an empty home and returns its paths.
func home(t *testing.T) paths.Paths {
	t.Helper()
	p, err := paths.FromEnviron([]string{"HOME=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(c *config.Config) string {
	var s []string
	for _, v := range c.Vaults {
		s = append(s, v.Name)
	}
	return strings.Join(s, " ")
}

func TestNothingSetIsNoVault(t *testing.T) {
	c, err := config.Load(home(t))
	if err != nil || len(c.Vaults) != 0 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if _, err := c.Find(""); !errors.Is(err, config.ErrNoVault) {
		t.Errorf("Find: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	p := home(t)
	put(t, p.VaultConfig("default"), "")
	c, err := config.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	want := config.VaultConfig{
		Path:    p.Vault("default"),
		Master:  "local",
		Backend: "file",
		Offline: config.Duration(7 * 24 * time.Hour), Lease: config.Duration(12 * time.Hour),
		Check: config.Duration(30 * time.Minute), Refresh: config.Duration(5 * time.Minute), Rotate: config.Duration(90 * config.Day),
		Idle: 0, Locked: "ask", Approve: "forwarded", AskTimeout: config.Duration(time.Minute), PublicCache: true,
	}
	if got := c.Vaults[0].VaultConfig; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	keys := `path = "~/sync/vault.jsonl"
master = "awskms:///alias/vigil?region=eu-central-1"
backend = "s3://team-keys/work"
offline = "0"
lease = "1d12h"
check = "1h"
refresh = "90s"
rotate = "30d"
idle = "15m"
max_unlocked = "10h"
locked = "refuse"
approve = "always"
ask_timeout = "2m"
public_cache = false
`
	for place, file := range map[string]func(p paths.Paths){
		"vaults.d":    func(p paths.Paths) { put(t, p.VaultConfig("work"), keys) },
		"config.toml": func(p paths.Paths) { put(t, p.ConfigFile(), "[vault.work]\n"+keys) },
	} {
		t.Run(place, func(t *testing.T) {
			p := home(t)
			file(p)
			c, err := config.Load(p)
			if err != nil {
				t.Fatal(err)
			}
			v, err := c.Find("work")
			want := config.VaultConfig{
				Path: filepath.Join(p.Home, "sync/vault.jsonl"), Master: "awskms:///alias/vigil?region=eu-central-1",
				Backend: "s3://team-keys/work", Offline: 0, Lease: config.Duration(36 * time.Hour),
				Check: config.Duration(time.Hour), Refresh: config.Duration(90 * time.Second), Rotate: config.Duration(30 * config.Day),
				Idle: config.Duration(15 * time.Minute), MaxUnlocked: config.Duration(10 * time.Hour), Locked: config.LockedRefuse, Approve: "always", AskTimeout: config.Duration(2 * time.Minute), PublicCache: false,
			}
			if err != nil || v.VaultConfig != want {
				t.Errorf("got  %+v, %v\nwant %+v", v.VaultConfig, err, want)
			}
		})
	}
}

func TestBothPlacesTogether(t *testing.T) {
	p := home(t)
	put(t, p.VaultConfig("work"), "master = \"awskms:///k?region=r-1\"\n")
	put(t, p.ConfigFile(), "[vault.work]\nidle = \"5m\"\n")
	c, err := config.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Vaults[0]; v.Master != "awskms:///k?region=r-1" || v.Idle != config.Duration(5*time.Minute) {
		t.Errorf("got %+v", v)
	}
}

func TestOrderOfVaults(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		written      []string
		want         string
		unlisted     string
	}{
		{"default first, then by name", "", []string{"alpha", "default", "beta"}, "default alpha beta", "[]"},
		{"tables count too", "[vault.zeta]\n[vault.able]\n", []string{"beta"}, "able beta zeta", "[]"},
		{"as the user says", `vaults = ["work", "default"]`, []string{"default", "other", "work"}, "work default", "[other]"},
		{"none", `vaults = []`, []string{"default"}, "", "[default]"},
		{"one without a file has the defaults", `vaults = ["new"]`, nil, "new", "[]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := home(t)
			put(t, p.ConfigFile(), tc.config)
			for _, name := range tc.written {
				put(t, p.VaultConfig(name), "")
			}
			c, err := config.Load(p)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(c); got != tc.want || fmt.Sprint(c.Unlisted) != tc.unlisted {
				t.Errorf("got %q, unlisted %v; want %q, %s", got, c.Unlisted, tc.want, tc.unlisted)
			}
		})
	}
}

func TestLockOn(t *testing.T) {
	for _, tc := range []struct {
		config, want string
		set          bool
	}{
		{"", "[suspend]", false},
		{"lock_on = []\n", "[]", true},
		{`lock_on = ["screen-lock", "logout", "suspend"]`, "[screen-lock logout suspend]", true},
	} {
		p := home(t)
		put(t, p.ConfigFile(), tc.config)
		c, err := config.Load(p)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(c.LockOn) != tc.want || c.LockOnSet != tc.set {
			t.Errorf("%q: locks on %v, set %v", tc.config, c.LockOn, c.LockOnSet)
		}
	}
}

// Each mistake is an error that names the file and the line of the mistake.
func TestMistakesNameFileAndLine(t *testing.T) {
	const user, written = "config.toml", "vaults.d/work.toml"
	for _, tc := range []struct {
		name string
		file string
		text string
		line int
		says string
	}{
		{"unknown key", user, "# c\n\nvalts = [\"a\"]\n", 3, `unknown key "valts"`},
		{"unknown table", user, "vaults = [\n \"work\",\n]\n\n[vualt.work]\nidle = \"5m\"\n", 5, `unknown key "vualt.work"`},
		{"unknown key of a vault", user, "[vault.work]\nidle = \"5m\"\nidel = \"5m\"\n", 3, `unknown key "vault.work.idel"`},
		{"unknown key after a long value", written, "path = '''\n/a\n'''\n\n\nidel = '''\n5m'''\nidle = \"1m\"", 6, `unknown key "idel"`},
		{"key in other letters", written, "idle = \"5m\"\nIDLE = \"6m\"\n", 2, `unknown key "IDLE"`},
		{"unknown key of an unlisted vault", user, "vaults = []\n[vault.other]\nidle = \"1h\"\n", 2, "isn't in vaults"},
		{"no TOML", user, "vaults = [\"a\"]\nx = = 3\n", 2, ""},
		{"set twice", written, "idle = \"5m\"\nidle = \"6m\"\n", 2, "already been defined"},
		{"wrong type", written, "\npublic_cache = \"no\"\n", 2, "incompatible types"},
		{"wrong type in a table", user, "[vault.work]\n\npublic_cache = \"no\"\n", 3, "incompatible types"},
		{"vault isn't a table", user, "\nvault = 3\n", 2, "[vault.NAME]"},
		{"vault's table is no table", user, "[vault]\nwork = 3\n", 2, ""},
		{"duration without unit", written, "lease = 12\n", 1, "duration"},
		{"duration of another unit", written, "\n\nlease = \"1w\"\n", 3, "duration"},
		{"lease too short", written, "lease = \"0\"\n", 1, "lease is at least 1s"},
		{"lease too short in a table", user, "[vault.work]\nlease = \"0\"\n", 2, "lease is at least 1s"},
		{"check too short", written, "check = \"0\"\n", 1, "check is at least 1s"},
		{"refresh too short", written, "refresh = \"0\"\n", 1, "refresh is at least 1s"},
		{"locked as nothing knows it", written, "locked = \"sign\"\n", 1, `locked is "refuse" or "ask"`},
		{"approve as nothing knows it", written, "approve = \"sometimes\"\n", 1, `approve is "never", "forwarded", "first" or "always"`},
		{"approve without a value", written, "approve = \"\"\n", 1, `approve is "never"`},
		{"a prompt that is gone at once", written, "ask_timeout = \"0\"\n", 1, "ask_timeout is at least 1s"},
		{"empty path", written, "path = \"\"\n", 1, "empty"},
		{"master", written, "\nmaster = \"gcpkms:///k\"\n", 2, "master key URI"},
		{"backend", written, "backend = \"s3://\"\n", 1, "backend URI"},
		{"name", user, "vaults = [\"Work\"]\n", 1, "a-z"},
		{"name of a table", user, "[vault.Work]\n", 1, "a-z"},
		{"lock on as nothing knows it", user, "\nlock_on = [\"suspend\", \"lid\"]\n", 2, `lock_on has "lid": it may have "suspend", "logout" and "screen-lock"`},
		{"lock on twice", user, "lock_on = [\"logout\", \"logout\"]\n", 1, `lock_on has "logout" twice`},
		{"lock on of no list", user, "lock_on = \"suspend\"\n", 1, ""},
		{"named twice", user, "vaults = [\"a\", \"a\"]\n", 1, "twice"},
		{"a helper of security keys by a relative path", user, "security_key_helper = \"ssh-sk-helper\"\n", 1, "security_key_helper is an absolute path"},
		{"a provider of security keys by a relative path", user, "\nsecurity_key_provider = \"x.so\"\n", 2, "security_key_provider is an absolute path"},
		{"two vaults in one file", user, "[vault.a]\npath = \"/v\"\n[vault.b]\npath = \"/x/../v\"\n", 4, "same path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := home(t)
			file := filepath.Join(p.Config, tc.file)
			put(t, file, tc.text)
			_, err := config.Load(p)
			var ce *config.Error
			if !errors.As(err, &ce) || ce.File != file || ce.Line != tc.line || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v\nwant %s:%d with %q", err, file, tc.line, tc.says)
			}
		})
	}
	t.Run("one key in both places", func(t *testing.T) {
		p := home(t)
		put(t, p.VaultConfig("work"), "\nidle = \"5m\"\n")
		put(t, p.ConfigFile(), "[vault.work]\nlease = \"1h\"\nidle = \"5m\"\n")
		_, err := config.Load(p)
		var ce *config.Error
		if !errors.As(err, &ce) || ce.File != p.ConfigFile() || ce.Line != 3 || !strings.Contains(err.Error(), p.VaultConfig("work")+":2") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("file of no vault", func(t *testing.T) {
		p := home(t)
		put(t, p.VaultConfig("Work"), "")
		if _, err := config.Load(p); !errors.Is(err, paths.ErrName) || !strings.Contains(err.Error(), "Work.toml") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		p := home(t)
		put(t, p.ConfigFile(), strings.Repeat("#", config.MaxFile+1))
		if _, err := config.Load(p); err == nil {
			t.Fatal("read")
		}
	})
}

func TestWriteVault(t *testing.T) {
	p := home(t)
	v := config.Defaults(p, "work")
	v.Master = "awskms:///alias/a?region=eu-west-1"
	v.Path = filepath.Join(p.Home, `odd "name" \ ü`+"\t", "vault.jsonl")
	v.Offline = 0
	v.PublicCache = false
	if err := config.WriteVault(t.Context(), p, "work", v); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Vaults[0].VaultConfig; got != v {
		t.Errorf("got  %+v\nwant %+v", got, v)
	}
	text, _ := os.ReadFile(p.VaultConfig("work"))
	if strings.Contains(string(text), "lease") {
		t.Errorf("a default is written down:\n%s", text)
	}
	if info, _ := os.Stat(p.VaultConfig("work")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := os.Stat(p.ConfigFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("config.toml: %v", err)
	}
}

func TestWriteVaultLeavesWhatItCantHonour(t *testing.T) {
	p := home(t)
	put(t, p.ConfigFile(), "[vault.work]\nbackend = \"s3://old-bucket\"\nidle = \"5m\"\n")
	v := config.Defaults(p, "work")
	v.Backend, v.Idle = "s3://new-bucket", config.Duration(5*time.Minute)
	err := config.WriteVault(t.Context(), p, "work", v)
	var elsewhere *config.SetElsewhereError
	if !errors.As(err, &elsewhere) || elsewhere.Key != "backend" || elsewhere.Line != 2 || elsewhere.File != p.ConfigFile() {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(p.VaultConfig("work")); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written")
	}

	v.Backend = "s3://old-bucket"
	if err := config.WriteVault(t.Context(), p, "work", v); err != nil {
		t.Fatal(err)
	}
	if c, err := config.Load(p); err != nil || c.Vaults[0].VaultConfig != v {
		t.Fatalf("got %+v, %v", c, err)
	}
}

func TestWriteVaultRefusesWhatLoadWould(t *testing.T) {
	p := home(t)
	v := config.Defaults(p, "work")
	v.Lease = 0
	if err := config.WriteVault(t.Context(), p, "work", v); err == nil {
		t.Error("a lease of nothing was written")
	}
	if err := config.WriteVault(t.Context(), p, "../work", config.Defaults(p, "x")); !errors.Is(err, paths.ErrName) {
		t.Errorf("name: %v", err)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour,
		"1h30m": 90 * time.Minute, "1d1h1m1s": 25*time.Hour + 61*time.Second, "3650d": 3650 * 24 * time.Hour,
	} {
		got, err := config.ParseDuration(text)
		if err != nil || got.Std() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if again, err := config.ParseDuration(got.String()); err != nil || again != got {
			t.Errorf("%q written as %q reads as %v, %v", text, got.String(), again, err)
		}
	}
	for _, text := range []string{
		"", "7", "d", "7 d", "-1h", "+1h", "1.5h", "1w", "1ms", "1m1h", "1h1h", "3651d", "3650d1s", "99999999999999999999d", "９h", "1h ", "∞",
	} {
		if got, err := config.ParseDuration(text); !errors.Is(err, config.ErrDuration) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// docs/config.md names every key, and no other.
func TestEveryKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			documented[name] = true
		}
	}
	known := map[string]bool{"vaults": true, "added_sha1": true, "security_key_provider": true, "security_key_helper": true, "secret_memory": true, "lock_on": true}
	for f := range reflect.TypeFor[config.VaultConfig]().Fields() {
		known[f.Tag.Get("toml")] = true
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/config.md lacks a row for %s", name)
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/config.md documents %s, which nothing reads", name)
		}
	}
	if row := fmt.Sprintf("| `lock_on` | `[%q]` |", config.DefaultLockOn[0]); len(config.DefaultLockOn) != 1 || !strings.Contains(string(page), row) {
		t.Errorf("docs/config.md has another default of lock_on than %q", config.DefaultLockOn)
	}
	d := config.Defaults(paths.Paths{}, "x")
	for key, value := range map[string]fmt.Stringer{
		"offline": d.Offline, "lease": d.Lease, "check": d.Check, "refresh": d.Refresh, "rotate": d.Rotate, "idle": d.Idle, "max_unlocked": d.MaxUnlocked,
	} {
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` | `\"%s\"` |", key, value)) {
			t.Errorf("docs/config.md has another default of %s than %q", key, value)
		}
	}
}

// TestALeaseMustBeRenewable: one that ends before the next proof is due is an
// error that says where, and which values would do.
func TestALeaseMustBeRenewable(t *testing.T) {
	for _, c := range []struct{ name, own, user, want string }{
		{"too short for the default check", "lease = \"30m\"\n", "", `work.toml:1: lease "30m" ends before it can be renewed: check "30m" and refresh "5m", which is up to a fifth longer, need a lease of "36m" at least, or this lease a check of "24m" at most`},
		{"the least that does", "lease = \"36m\"\n", "", ""},
		{"too short in the other place", "", "[vault.work]\nidle = \"1h\"\nlease = \"35m59s\"\n", `config.toml:3: lease "35m59s" ends`},
		{"a check that is too rare", "", "[vault.work]\ncheck = \"12h\"\n", `config.toml:2: lease "12h" ends before it can be renewed: check "12h" and refresh "5m", which is up to a fifth longer, need a lease of "12h6m" at least, or this lease a check of "11h54m" at most`},
		{"a refresh that is too rare", "refresh = \"1d\"\n", "", `work.toml:1: lease "12h" ends before it can be renewed: check "30m" and refresh "1d", which is up to a fifth longer, need a lease of "1d5h18m" at least`},
		{"both places together will do", "lease = \"10m\"\n", "[vault.work]\ncheck = \"1m\"\n", ""},
		{"both places together will not", "lease = \"10m\"\n", "[vault.work]\nrefresh = \"1m\"\n", `work.toml:1: lease "10m"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := home(t)
			put(t, p.VaultConfig("work"), c.own)
			put(t, p.ConfigFile(), c.user)
			_, err := config.Load(p)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if strings.Contains(c.name, "refresh") && strings.Contains(fmt.Sprint(err), "a check of") {
				t.Errorf("it names a check that can't be: %v", err)
			}
		})
	}
}
