// Package paths defines where Vigil's files are on a device.
//
// The paths are a pure function of an environment: the package reads nothing from
// the process or the disk and creates nothing, so a test or a second daemon gets its
// own places by passing its own variables. The layout follows the XDG Base Directory
// Specification on every system, including macOS:
//
//	$XDG_CONFIG_HOME/vigil/config.toml             written by the user only
//	$XDG_CONFIG_HOME/vigil/vaults.d/NAME.toml      written by init and … set
//	$XDG_DATA_HOME/vigil/vaults/NAME/vault.jsonl   ciphertext, synced by the user
//	$XDG_DATA_HOME/vigil/keyrings/NAME/            default backend, this device only
//	$XDG_DATA_HOME/vigil/device/                   local master and device keys
//	$XDG_STATE_HOME/vigil/                         what this device has seen
//	$XDG_RUNTIME_DIR/vigil/{agent,control}.sock    or run/ in the state folder
//	/tmp/vigil-HASH/                               if that path is too long for a socket
package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ErrNoHome reports that a path depends on HOME, which is unset, empty or not
// absolute.
var ErrNoHome = errors.New("HOME is not set to an absolute path")

// ErrName reports a vault name outside [a-z0-9][a-z0-9-]{0,31}.
var ErrName = errors.New("a name has 1 to 32 characters of a-z, 0-9 and -, and doesn't begin with -")

// MaxName is the longest vault name in bytes. Names become file names, table
// names and KMS aliases, so they are short and have one spelling.
const MaxName = 32

// app is the name of Vigil's folder under each of the XDG folders.
const app = "vigil"

// Paths holds the five folders of Vigil on this device, all absolute and clean.
type Paths struct {
	// Home is the user's home folder, or empty if HOME isn't usable. Only Expand
	// uses it; the folders below are already complete.
	Home string
	// Config is $XDG_CONFIG_HOME/vigil.
	Config string
	// Data is $XDG_DATA_HOME/vigil.
	Data string
	// State is $XDG_STATE_HOME/vigil.
	State string
	// Runtime is $XDG_RUNTIME_DIR/vigil, or State/run, or a folder in /tmp.
	Runtime string
}

// FromEnviron returns the paths for variables in the form of os.Environ. If a
// variable has several values, the last one counts, as for os/exec.
func FromEnviron(environ []string) (Paths, error) {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return FromLookup(func(name string) string { return env[name] })
}

// FromLookup returns the paths for a function such as os.Getenv, which returns ""
// for an unset variable. As the XDG specification requires, a variable with a
// relative path counts as unset. It fails with ErrNoHome if a folder depends on HOME
// and HOME isn't an absolute path.
func FromLookup(lookup func(string) string) (Paths, error) {
	home := absolute(lookup("HOME"))
	place := func(variable, underHome string) (string, error) {
		if dir := absolute(lookup(variable)); dir != "" {
			return filepath.Join(dir, app), nil
		}
		if home == "" {
			return "", fmt.Errorf("find %s: %w", variable, ErrNoHome)
		}
		return filepath.Join(home, underHome, app), nil
	}
	p := Paths{Home: home}
	var errs [3]error
	p.Config, errs[0] = place("XDG_CONFIG_HOME", ".config")
	p.Data, errs[1] = place("XDG_DATA_HOME", ".local/share")
	p.State, errs[2] = place("XDG_STATE_HOME", ".local/state")
	for _, err := range errs {
		if err != nil {
			return Paths{}, err
		}
	}
	p.Runtime = filepath.Join(p.State, "run")
	if CheckSocket(p.ControlSocket()) != nil {
		p.Runtime = inTmp(p.State)
	}
	if dir := absolute(lookup("XDG_RUNTIME_DIR")); dir != "" {
		p.Runtime = filepath.Join(dir, app)
	}
	return p, nil
}

// inTmp returns a short path for the sockets of a state folder. Other users can know it
// and make it first: what is there is used only if it is the user's own folder.
func inTmp(state string) string {
	hash := sha256.Sum256([]byte(state))
	return "/tmp/" + app + "-" + hex.EncodeToString(hash[:8])
}

// RuntimeInTmp reports whether Runtime is a folder in /tmp, where others can make files.
func (p Paths) RuntimeInTmp() bool { return p.Runtime == inTmp(p.State) }

// absolute returns path cleaned, or "" if it isn't absolute.
func absolute(path string) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	return filepath.Clean(path)
}

// ConfigFile is the file the user writes; Vigil never does.
func (p Paths) ConfigFile() string { return filepath.Join(p.Config, "config.toml") }

// VaultConfigDir holds one file for each vault that init or … set wrote.
func (p Paths) VaultConfigDir() string { return filepath.Join(p.Config, "vaults.d") }

// VaultConfig is the file that init and … set write for the vault called name.
func (p Paths) VaultConfig(name string) string {
	return filepath.Join(p.VaultConfigDir(), name+".toml")
}

// Vault is the default path of a vault's file. It has its own folder, so that
// watching it produces few events.
func (p Paths) Vault(name string) string {
	return filepath.Join(p.Data, "vaults", name, "vault.jsonl")
}

// Keyring is the default backend's folder for the vault called name.
func (p Paths) Keyring(name string) string { return filepath.Join(p.Data, "keyrings", name) }

// Device holds the local master key and the device key, 0700.
func (p Paths) Device() string { return filepath.Join(p.Data, "device") }

// AuditLog is the hash-chained log of use.
func (p Paths) AuditLog() string { return filepath.Join(p.State, "audit.jsonl") }

// ServiceRecord says what `vigilctl service enable` changed.
func (p Paths) ServiceRecord() string { return filepath.Join(p.State, "service.json") }

// Log is where a daemon started in the background writes its messages.
func (p Paths) Log() string { return filepath.Join(p.State, "vigild.log") }

// SocketVariable is the environment variable by which clients find the agent (ssh(1)).
const SocketVariable = "SSH_AUTH_SOCK"

// AgentSocket is the SSH agent's socket: SSH_AUTH_SOCK.
func (p Paths) AgentSocket() string { return filepath.Join(p.Runtime, "agent.sock") }

// ControlSocket is the socket that vigilctl talks to the daemon on.
func (p Paths) ControlSocket() string { return filepath.Join(p.Runtime, "control.sock") }

// Expand resolves a path that a user wrote: "~" and "~/…" stand for HOME, and a
// relative path is relative to base. It doesn't expand other users' homes (~name) or
// variables. It fails with ErrNoHome if HOME is needed and unknown.
func (p Paths) Expand(base, path string) (string, error) {
	if path == "~" || strings.HasPrefix(path, "~/") {
		if p.Home == "" {
			return "", fmt.Errorf("expand %q: %w", path, ErrNoHome)
		}
		return filepath.Join(p.Home, path[1:]), nil
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	return filepath.Join(base, path), nil
}

// CheckName returns nil if name may name a vault: [a-z0-9][a-z0-9-]{0,31}. The error
// wraps ErrName and quotes at most MaxName bytes of name.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if ok {
		return nil
	}
	if len(name) > MaxName {
		name = name[:MaxName] + "…"
	}
	return fmt.Errorf("name %q: %w", name, ErrName)
}

// SocketPathError reports a socket path that doesn't fit into sockaddr_un.
type SocketPathError struct {
	Path  string // the path as asked for
	Limit int    // the most bytes this system accepts
}

func (e *SocketPathError) Error() string {
	return fmt.Sprintf("socket path %q has %d bytes and this system takes %d: set XDG_RUNTIME_DIR to a shorter folder",
		e.Path, len(e.Path), e.Limit)
}

// CheckSocket returns a *SocketPathError if path is too long to bind or connect to:
// more than MaxSocketPath bytes.
func CheckSocket(path string) error {
	if len(path) > MaxSocketPath {
		return &SocketPathError{Path: path, Limit: MaxSocketPath}
	}
	return nil
}
