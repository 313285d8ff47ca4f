// Package vault is one vault as the front has it: locked or unlocked, what is
// listed of it, and what is done with it. It starts the keeper that holds the
// vault's keys and the openers that do jobs, and never has a passphrase, a KEK, a
// DEK or a private key itself.
//
// Three things keep order. What changes a vault has its turn (job.go): one job at a
// time, and a lock ends it. What a load has made usable is a snapshot that nobody
// changes (snapshot.go): who reads it takes no lock. What else changes is in fields
// that a mutex guards, never across I/O.
//
//	unlock.go, lock.go   opener → keeper, and the end of it
//	load.go              what the keeper makes of keyring and vault file
//	live.go, lease.go    what happens unasked
//	write.go             new revisions: keeper seals, backend, vault file
//	…                    one file for each of vigilctl's operations
package vault

import (
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"vigil/internal/backend"
	"vigil/internal/clock"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/paths"
	"vigil/internal/sshagent"
	"vigil/internal/state"
	"vigil/internal/turn"
	"vigil/internal/vaultfile"
)

// Device is what the vaults of this device work with.
type Device struct {
	Paths paths.Paths
	State *state.Store
	Log   *slog.Logger
	// Exe starts a keeper: /proc/self/exe on Linux.
	Exe string
	// Opener is the absolute path of vigil-opener.
	Opener string
	// Agent lists the vaults' keys.
	Agent Lister
	// Refused is told what was refused, for `vigilctl why`.
	Refused func(control.Refusal)
	// Calls counts what openers ask of key management services.
	Calls Calls
}

// Lister lists keys: the agent. See [sshagent.Agent.SetVault].
type Lister interface {
	SetVault(name string, keys []sshagent.VaultKey)
}

// Vault is one vault of the config.
type Vault struct {
	d    *Device
	name string
	cfg  atomic.Pointer[config.Vault] // replaced by whoever has the turn

	turn  turn.Turn      // unlock, refresh and writes: one at a time
	watch sync.WaitGroup // what an unlocked vault runs, until its keeper has ended

	showing sync.Mutex // held while the agent is told what the vault lists; taken before mu

	mu      sync.Mutex    // guards what follows; never held across I/O
	open    *openVault    // nil while locked
	jobs    map[*job]bool // under way, or waiting for their turn
	slow    slowdown
	problem *control.Error
	listed  []state.PublicKey // while locked
	fileErr error             // why the vault file can't be used, as it was said last
	copies  *control.Error    // why conflict copies can't be taken in, as it was said last

	// unfinishedKEK is the KEK whose rotation the last refresh found unfinished. It is
	// for whoever has the turn.
	unfinishedKEK uint64
}

// openVault is an unlocked vault.
type openVault struct {
	keeper     *keeper.Client
	id         id.Vault
	identity   id.Identity
	since      time.Time
	offlineWhy string // why it was unlocked without network, if it was
	refused    error  // why the keyring is the kept one; nil: it's the backend's

	loaded atomic.Pointer[snapshot] // of the last load
	access atomic.Pointer[access]

	stale chan struct{} // holds a token while the keys to list when locked aren't kept yet

	// What follows is for whoever has the turn.

	given     *vaultfile.File                         // the keeper has it; nil: none, or nobody knows
	known     keeper.Known                            // what the device state had before; Replaced is as it is now
	noted     keyring.Pins                            // the newest that the device state has
	replaced  []id.Revision                           // as the device state has it
	kept      struct{ members, deks backend.Version } // of the keyring in it
	share     seenShare                               // that the last proof was of
	collected time.Time                               // when DEKs that may go were looked for
	taken     map[string]takenCopy                    // conflict copies beside the vault file, by name
}

// access is how an unlocked vault has been refreshed.
type access struct {
	refreshed time.Time     // when the backend was reached last
	proved    clock.Instant // when the last proof was asked for; zero: not since an unlock without network
	ends      clock.Instant // of the lease; nothing but a proof moves it
	offline   bool          // unlocked from what the device keeps
}

// now is what the last load made usable.
func (o *openVault) now() *snapshot { return o.loaded.Load() }

// New returns a locked vault.
func New(d *Device, c config.Vault) *Vault {
	v := &Vault{d: d, name: c.Name, jobs: map[*job]bool{}}
	v.setConfig(c)
	return v
}

// Name is the vault's name in the config.
func (v *Vault) Name() string { return v.name }

// Locked returns the error that says that the vault is locked, if it is.
func (v *Vault) Locked() error {
	_, err := v.current()
	return err
}

// Keeper returns the process that holds the vault's keys, or nil while it's locked.
func (v *Vault) Keeper() *keeper.Client {
	if o, err := v.current(); err == nil {
		return o.keeper
	}
	return nil
}

// MinIDPrefix is how many characters of an item's or a revision's id name it.
const MinIDPrefix = 4

// config is the vault's configuration as it is now, which nobody may change. Parts
// of it that belong together are taken from one call.
func (v *Vault) config() *config.Vault { return v.cfg.Load() }

func (v *Vault) setConfig(c config.Vault) { v.cfg.Store(&c) }

// current returns the unlocked vault, or the error that says that it's locked.
func (v *Vault) current() (*openVault, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		return nil, control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "vault %q is locked", v.name)
	}
	return v.open, nil
}

// place says where the vault's parts are.
func (v *Vault) place(vaultID id.Vault, identity id.Identity) opener.Place {
	c := v.config()
	return opener.Place{
		Name: v.name, Vault: vaultID, Identity: identity,
		Backend: c.Backend, KeyringDir: v.d.Paths.Keyring(v.name),
		Master: c.Master, DeviceDir: v.d.Paths.Device(),
		SessionDir: filepath.Join(v.d.Paths.State, "aws"),
	}
}
