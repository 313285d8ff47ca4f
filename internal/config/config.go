// Package config reads the configuration: config.toml, which Vigil never writes,
// and vaults.d/NAME.toml beside it, which init and the … set commands write.
// docs/config.md lists every key with its default and unit.
//
// An unknown key is an error that names file and line: a misspelt safety setting
// must not fall back to its default. A vault's key that is set in both places is an
// error too: neither place silently takes precedence.
package config

import (
	"time"

	"vigil/internal/backend"
	"vigil/internal/guard"
	"vigil/internal/master"
	"vigil/internal/paths"
	"vigil/internal/policy"
)

// Locked is what happens to a signature request while its vault is locked.
type Locked string

const (
	// LockedRefuse refuses the signature, and `vigilctl why` shows it.
	LockedRefuse Locked = "refuse"
	// LockedAsk asks for the passphrase where someone can be asked, and else refuses.
	LockedAsk Locked = "ask"
)

// Defaults, each documented in docs/config.md.
const (
	// DefaultOffline is how long a device that can't reach the KMS may unlock
	// with the share it keeps sealed.
	DefaultOffline = Duration(7 * Day)
	// DefaultLease is how long an unlocked vault may go without a proof of access
	// by the master key.
	DefaultLease = Duration(12 * time.Hour)
	// DefaultCheck is the least time between two proofs that this identity still
	// has access to the KMS.
	DefaultCheck = Duration(30 * time.Minute)
	// DefaultRefresh is the time between two conditional fetches of the keyring.
	DefaultRefresh = Duration(5 * time.Minute)
	// DefaultRotate is how long a KEK is in use before an owner's daemon makes
	// the next one.
	DefaultRotate = Duration(90 * Day)
	// DefaultIdle never locks an idle vault.
	DefaultIdle = Duration(0)
	// DefaultMaxUnlocked locks no vault for having been unlocked long.
	DefaultMaxUnlocked = Duration(0)
	// DefaultAskTimeout is how long a prompt waits for an answer.
	DefaultAskTimeout = Duration(time.Minute)
)

// Default places of a vault's master key and keyring.
const (
	// DefaultMaster is the master key in a file of this device.
	DefaultMaster = master.SchemeLocal
	// DefaultBackend is the keyring in paths.Keyring, for this device only.
	DefaultBackend = backend.SchemeFile
)

// MinPeriod is the shortest lease, check and refresh: "0", which means never in
// other settings, would mean continuously here.
const MinPeriod = Duration(time.Second)

// DefaultVault is the name of the vault that is made when none is named.
const DefaultVault = "default"

// Config is everything that is set, complete with defaults.
type Config struct {
	// Vaults are the vaults to serve, in the order of listing; the first one is
	// the default of commands.
	Vaults []Vault
	// SecurityKeyProvider is the library that talks to security keys, an absolute path;
	// "": the one that is part of OpenSSH.
	SecurityKeyProvider string
	// SecurityKeyHelper is OpenSSH's ssh-sk-helper, an absolute path; "": where packages
	// put it.
	SecurityKeyHelper string
	// SecretMemory is the best kind of memory that secrets may be kept in.
	SecretMemory guard.Kind
	// AddedSHA1 lets RSA keys that ssh-add added sign with SHA-1.
	AddedSHA1 bool
	// LockOn is what locks everything, each event once.
	LockOn []LockEvent
	// LockOnSet reports that the user has set LockOn.
	LockOnSet bool
	// Unlisted are names with a file in vaults.d that aren't in `vaults`.
	Unlisted []string
}

// Vault is one vault with its settings; paths are absolute.
type Vault struct {
	Name string
	VaultConfig
}

// VaultConfig holds the settings of one vault, in a file of vaults.d or in a table
// [vault.NAME] of config.toml. docs/config.md documents them too; a test checks that
// it names every key.
type VaultConfig struct {
	// Path of the vault file.
	Path string `toml:"path"`
	// Master is the URL of the master key: "local" or "awskms:///KEY?region=…".
	Master string `toml:"master"`
	// Backend is the URL of the keyring: "file", "file:///DIR" or "s3://BUCKET/PREFIX".
	Backend string `toml:"backend"`
	// Offline is how long the device may unlock without the KMS; 0: never.
	Offline Duration `toml:"offline"`
	// Lease is how long an unlocked vault may go without a proof of access.
	Lease Duration `toml:"lease"`
	// Check is the least time between proofs of access at the KMS.
	Check Duration `toml:"check"`
	// Refresh is the time between conditional fetches of the keyring.
	Refresh Duration `toml:"refresh"`
	// Rotate is how long a KEK is in use before an owner's daemon replaces it; 0: never.
	Rotate Duration `toml:"rotate"`
	// Idle is how long a vault may be unused before it is locked; 0: never locked.
	Idle Duration `toml:"idle"`
	// MaxUnlocked is how long a vault stays unlocked at most, used or not; 0: no limit.
	MaxUnlocked Duration `toml:"max_unlocked"`
	// Locked is what happens to a signature request while the vault is locked.
	Locked Locked `toml:"locked"`
	// Approve says which uses of a key a person is asked for, unless the key itself does.
	Approve policy.Approve `toml:"approve"`
	// AskTimeout is how long a prompt waits for an answer.
	AskTimeout Duration `toml:"ask_timeout"`
	// PublicCache keeps public keys and names on the device, so that they are
	// listed while the vault is locked.
	PublicCache bool `toml:"public_cache"`
}

// Load reads the configuration at p. A missing file counts as empty. Errors name
// the file, and the line if there is one.
func Load(p paths.Paths) (*Config, error) { return load(p) }

// Find returns the vault called name, or the first one for "". The error wraps
// ErrNoVault.
func (c *Config) Find(name string) (Vault, error) { return c.find(name) }
