package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"vigil/internal/backend"
	"vigil/internal/durable"
	"vigil/internal/guard"
	"vigil/internal/master"
	"vigil/internal/paths"
	"vigil/internal/policy"
	"vigil/internal/refresh"
)

// ErrNoVault reports a name that no vault of the configuration has.
var ErrNoVault = errors.New("no such vault in the configuration")

// Error reports what is wrong with a configuration file, and where.
type Error struct {
	File string
	Line int // from 1; 0 for the file as a whole
	Err  error
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.File, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// userFile is config.toml.
type userFile struct {
	Vaults    []string                  `toml:"vaults"`
	AddedSHA1 bool                      `toml:"added_sha1"`
	Provider  string                    `toml:"security_key_provider"`
	Helper    string                    `toml:"security_key_helper"`
	Memory    guard.Kind                `toml:"secret_memory"`
	LockOn    []LockEvent               `toml:"lock_on"`
	Vault     map[string]toml.Primitive `toml:"vault"`
}

// Defaults returns the default settings of the vault called name.
func Defaults(p paths.Paths, name string) VaultConfig {
	return VaultConfig{
		Path:        p.Vault(name),
		Master:      DefaultMaster,
		Backend:     DefaultBackend,
		Offline:     DefaultOffline,
		Lease:       DefaultLease,
		Check:       DefaultCheck,
		Refresh:     DefaultRefresh,
		Rotate:      DefaultRotate,
		Idle:        DefaultIdle,
		MaxUnlocked: DefaultMaxUnlocked,
		Locked:      LockedAsk,
		Approve:     policy.ApproveForwarded,
		AskTimeout:  DefaultAskTimeout,
		PublicCache: true,
	}
}

func load(p paths.Paths) (*Config, error) {
	user, err := read(p.ConfigFile())
	if err != nil {
		return nil, err
	}
	var top userFile
	if err := user.decode(&top); err != nil {
		return nil, err
	}
	if err := user.only(func(key toml.Key) bool {
		switch key[0] {
		case "vaults", "added_sha1", "security_key_provider", "security_key_helper", "secret_memory", "lock_on":
			return len(key) == 1
		case "vault":
			return len(key) < 3 || len(key) == 3 && isVaultKey(key[2])
		}
		return false
	}); err != nil {
		return nil, err
	}
	for _, p := range []struct{ key, path string }{{"security_key_provider", top.Provider}, {"security_key_helper", top.Helper}} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			return nil, user.at(fmt.Errorf("%s is an absolute path", p.key), p.key)
		}
	}
	switch top.Memory {
	case "":
		top.Memory = guard.SecretMemory
	case guard.SecretMemory, guard.LockedMemory:
	default:
		return nil, user.at(fmt.Errorf("secret_memory is %q or %q", guard.SecretMemory, guard.LockedMemory), "secret_memory")
	}
	if err := lockOn(user, &top); err != nil {
		return nil, err
	}
	if kind := user.meta.Type("vault"); kind != "Hash" && kind != "" { // "" if there are only tables [vault.NAME]
		return nil, user.at(errors.New("a vault's settings stand in a table [vault.NAME]"), "vault")
	}
	written, err := writtenVaults(p)
	if err != nil {
		return nil, err
	}
	names := top.Vaults
	if !user.meta.IsDefined("vaults") {
		names = withFound(p, defaultOrder(written, top.Vault))
	}
	c := &Config{AddedSHA1: top.AddedSHA1, SecurityKeyProvider: top.Provider, SecurityKeyHelper: top.Helper, SecretMemory: top.Memory, LockOn: top.LockOn, LockOnSet: user.meta.IsDefined("lock_on")}
	for i, name := range names {
		if err := paths.CheckName(name); err != nil {
			if user.meta.IsDefined("vaults") {
				return nil, user.at(err, "vaults")
			}
			return nil, user.at(err, "vault", name)
		}
		if slices.Contains(names[:i], name) {
			return nil, user.at(fmt.Errorf("vault %q is named twice", name), "vaults")
		}
		v, err := loadVault(p, user, &top, name)
		if err != nil {
			return nil, err
		}
		c.Vaults = append(c.Vaults, Vault{Name: name, VaultConfig: v})
	}
	for _, name := range slices.Sorted(maps.Keys(top.Vault)) {
		if !slices.Contains(names, name) {
			return nil, user.at(fmt.Errorf("vault %.40q has settings but isn't in vaults", name), "vault", name)
		}
	}
	for _, name := range written {
		if !slices.Contains(names, name) {
			c.Unlisted = append(c.Unlisted, name)
		}
	}
	return c, c.distinct(p, user)
}

// writtenVaults lists the names that have a file in vaults.d, sorted. An invalid
// name is an error: such a file would never be read.
func writtenVaults(p paths.Paths) ([]string, error) {
	entries, err := os.ReadDir(p.VaultConfigDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{File: p.VaultConfigDir(), Err: err}
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".toml")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		if err := paths.CheckName(name); err != nil {
			return nil, &Error{File: filepath.Join(p.VaultConfigDir(), e.Name()), Err: err}
		}
		names = append(names, name)
	}
	return names, nil
}

// maxFound is the most vaults without a configuration that are served.
const maxFound = 32

// withFound adds the vaults that have a file in its default place and no configuration,
// by name, up to maxFound: a vault whose configuration is lost, as after a restore from a
// backup, has the defaults. They come after those that are configured: whatever else a
// sync tool puts there, the default vault stays the same.
func withFound(p paths.Paths, names []string) []string {
	files, _ := filepath.Glob(p.Vault("*")) // a folder that can't be read has none
	var found []string
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if paths.CheckName(name) == nil && !slices.Contains(names, name) && len(found) < maxFound {
			found = append(found, name)
		}
	}
	return append(names, defaultOrder(found, nil)...)
}

// defaultOrder returns the order of vaults if the user set none: the default vault,
// then the others by name.
func defaultOrder(names []string, tables map[string]toml.Primitive) []string {
	names = slices.AppendSeq(names, maps.Keys(tables))
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == DefaultVault:
			return -1
		case b == DefaultVault:
			return 1
		}
		return cmp.Compare(a, b)
	})
	return slices.Compact(names)
}

// loadVault reads one vault's settings from both places.
func loadVault(p paths.Paths, user *file, top *userFile, name string) (VaultConfig, error) {
	v := Defaults(p, name)
	own, err := read(p.VaultConfig(name))
	if err != nil {
		return v, err
	}
	if err := own.decode(&v); err != nil {
		return v, err
	}
	if err := own.only(func(key toml.Key) bool { return len(key) == 1 && isVaultKey(key[0]) }); err != nil {
		return v, err
	}
	if err := v.complete(p, own); err != nil {
		return v, err
	}
	table, ok := top.Vault[name]
	if !ok {
		return v, v.holdsLease(own, user, name)
	}
	for _, key := range own.meta.Keys() {
		if user.meta.IsDefined("vault", name, key[0]) {
			return v, user.at(fmt.Errorf("%s of vault %q is set here and in %s:%d: remove one of them",
				key[0], name, own.name, own.line(key...)), "vault", name, key[0])
		}
	}
	if err := user.meta.PrimitiveDecode(table, &v); err != nil {
		return v, user.wrap(err)
	}
	if err := v.complete(p, user, "vault", name); err != nil {
		return v, err
	}
	return v, v.holdsLease(own, user, name)
}

// holdsLease refuses a lease that ends before the proof that renews it is due: the
// vault would lock although everything answers. The times may be set in either of a
// vault's places, so they are checked together.
func (v *VaultConfig) holdsLease(own, user *file, name string) error {
	need := Duration(refresh.Furthest(v.Check.Std(), v.Refresh.Std()).Round(time.Second))
	if v.Lease >= need {
		return nil
	}
	err := fmt.Errorf("lease %q ends before it can be renewed: check %q and refresh %q, which is up to a fifth longer, need a lease of %q at least",
		v.Lease, v.Check, v.Refresh, need)
	if most := v.Check - (need - v.Lease); most >= MinPeriod {
		err = fmt.Errorf("%w, or this lease a check of %q at most", err, most)
	}
	for _, key := range []string{"lease", "check", "refresh"} {
		if own.meta.IsDefined(key) {
			return own.at(err, key)
		}
		if user.meta.IsDefined("vault", name, key) {
			return user.at(err, "vault", name, key)
		}
	}
	return err
}

// complete checks the values that f gave v, under the table prefix, and makes its
// path absolute. A relative path is relative to f's folder.
func (v *VaultConfig) complete(p paths.Paths, f *file, prefix ...string) error {
	key := func(name string) []string { return append(slices.Clone(prefix), name) }
	if v.Path == "" {
		return f.at(errors.New("path of the vault file is empty"), key("path")...)
	}
	path, err := p.Expand(filepath.Dir(f.name), v.Path)
	if err != nil {
		return f.at(err, key("path")...)
	}
	v.Path = path
	if _, err := master.ParseURI(v.Master); err != nil {
		return f.at(err, key("master")...)
	}
	if _, err := backend.ParseURI(v.Backend); err != nil {
		return f.at(err, key("backend")...)
	}
	for _, check := range []struct {
		name string
		ok   bool
		want string
	}{
		{"lease", v.Lease >= MinPeriod, "lease is at least " + MinPeriod.String()},
		{"check", v.Check >= MinPeriod, "check is at least " + MinPeriod.String()},
		{"refresh", v.Refresh >= MinPeriod, "refresh is at least " + MinPeriod.String()},
		{"approve", approves(v.Approve), `approve is "never", "forwarded", "first" or "always"`},
		{"locked", v.Locked == LockedRefuse || v.Locked == LockedAsk, `locked is "refuse" or "ask"`},
		{"ask_timeout", v.AskTimeout >= MinPeriod, "ask_timeout is at least " + MinPeriod.String()},
	} {
		if !check.ok {
			return f.at(errors.New(check.want), key(check.name)...)
		}
	}
	return nil
}

// distinct refuses two vaults with the same file: each would overwrite the other.
func (c *Config) distinct(p paths.Paths, user *file) error {
	owner := make(map[string]string)
	for _, v := range c.Vaults {
		if first, ok := owner[v.Path]; ok {
			err := fmt.Errorf("vaults %q and %q have the same path %q", first, v.Name, v.Path)
			if user.meta.IsDefined("vault", v.Name, "path") {
				return user.at(err, "vault", v.Name, "path")
			}
			return &Error{File: p.VaultConfig(v.Name), Err: err}
		}
		owner[v.Path] = v.Name
	}
	return nil
}

func (c *Config) find(name string) (Vault, error) {
	for _, v := range c.Vaults {
		if name == "" || v.Name == name {
			return v, nil
		}
	}
	if name == "" {
		return Vault{}, ErrNoVault
	}
	return Vault{}, fmt.Errorf("vault %.40q: %w", name, ErrNoVault)
}

// SetElsewhereError reports a setting that WriteVault can't change, because the
// user's own file sets it.
type SetElsewhereError struct {
	File string // config.toml
	Line int
	Key  string
}

func (e *SetElsewhereError) Error() string {
	return fmt.Sprintf("%s is set in %s:%d, which vigil doesn't edit: change it there, or remove it there first", e.Key, e.File, e.Line)
}

// WriteVault replaces vaults.d/NAME.toml and syncs it. It writes path, master and
// backend, and other settings that differ from their defaults. It leaves out a key
// that config.toml sets to the same value; if config.toml sets another value, it
// writes nothing and returns a *SetElsewhereError.
func WriteVault(ctx context.Context, p paths.Paths, name string, v VaultConfig) error {
	text, err := render(p, name, v)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(p.VaultConfigDir(), 0o700); err != nil {
		return err
	}
	lock, err := durable.AcquireLock(ctx, filepath.Join(p.VaultConfigDir(), ".lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	return durable.Replace(p.VaultConfig(name), text, durable.Options{Mode: 0o600})
}

// CheckVault returns the error that WriteVault would, and writes nothing. Commands
// call it before they make other changes.
func CheckVault(p paths.Paths, name string, v VaultConfig) error {
	_, err := render(p, name, v)
	return err
}

// render returns the text of vaults.d/NAME.toml.
func render(p paths.Paths, name string, v VaultConfig) ([]byte, error) {
	if err := paths.CheckName(name); err != nil {
		return nil, err
	}
	user, err := read(p.ConfigFile())
	if err != nil {
		return nil, err
	}
	var top userFile
	if err := user.decode(&top); err != nil {
		return nil, err
	}
	set := Defaults(p, name)
	if table, ok := top.Vault[name]; ok {
		if err := user.meta.PrimitiveDecode(table, &set); err != nil {
			return nil, user.wrap(err)
		}
		if err := set.complete(p, user, "vault", name); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Written by vigil; settings of your own go here or into [vault.%s] of %s.\n", name, p.ConfigFile())
	for _, key := range vaultKeys {
		here, there := key.get(&v), key.get(&set)
		line := key.name + " = " + here + "\n"
		switch {
		case user.meta.IsDefined("vault", name, key.name):
			if here != there {
				return nil, &SetElsewhereError{File: user.name, Line: user.line("vault", name, key.name), Key: key.name}
			}
		case key.always || here != there:
			out.WriteString(line)
		}
	}
	check := file{name: p.VaultConfig(name), text: out.String()}
	if err := check.decode(new(VaultConfig)); err != nil {
		return nil, err
	}
	if err := v.complete(p, &check); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func approves(a policy.Approve) bool {
	_, ok := policy.ParseApprove(string(a))
	return ok
}
