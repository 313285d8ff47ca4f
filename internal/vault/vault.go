// Package vault is the front's view of one vault: whether it is locked, which keys it
// lists, and the operations on it. It starts the keeper that holds the vault's keys and
// the openers that run jobs. It never has a passphrase, a KEK, a DEK or a private key.
//
// Jobs that change a vault run one at a time, and a lock cancels them (turn.go). What
// a load makes usable is an immutable snapshot, read without a lock (snapshot.go).
// The rest is in fields that a mutex guards, which is never held across I/O.
//
//	asking.go            a person is asked to unlock it
//	unlock.go, lock.go   opener → keeper, and the keeper's end
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

	"vigil/internal/ask"
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

// Device is what all vaults of this device share.
type Device struct {
	Paths paths.Paths
	State *state.Store
	Log   *slog.Logger
	// Keeper says how to start a keeper, but for whose it is.
	Keeper keeper.Options
	// Opener is vigil-opener.
	Opener *opener.Program
	// Agent lists the vaults' keys.
	Agent Lister
	// Refused records refusals for `vigilctl why`.
	Refused func(control.Refusal)
	// Asker asks for passphrases, where Places says; nil: nobody is asked.
	Asker  *ask.Program
	Places *ask.Places
	// CanAsk returns nil, or why nobody can be asked before a key is used.
	CanAsk func() error
	// LargeRead is told after a large vault file was read.
	LargeRead func()
	// Calls counts openers' calls to key management services.
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
	cfg  atomic.Pointer[config.Vault] // replaced only with the turn

	desk  *ask.Desk
	turn  turn.Turn      // unlock, refresh and writes: one at a time
	watch sync.WaitGroup // an unlocked vault's goroutines, until its keeper has ended

	showing sync.Mutex // held while the agent is told what to list; taken before mu

	mu      sync.Mutex    // guards the fields below; never held across I/O
	open    *openVault    // nil while locked
	jobs    map[*job]bool // running or waiting for their turn
	slow    slowdown
	problem *control.Error
	listed  []*Key         // while locked
	fileErr error          // why the vault file can't be used, as last reported
	copies  *control.Error // why conflict copies can't be merged, as last reported

	// unfinishedKEK is the KEK whose rotation the last refresh found unfinished. The
	// turn guards it.
	unfinishedKEK uint64
}

// openVault is an unlocked vault.
type openVault struct {
	keeper     *keeper.Client
	id         id.Vault
	identity   id.Identity
	since      time.Time
	until      clock.Instant // when max_unlocked locks it, whatever is renewed; zero: never
	offlineWhy string        // why it was unlocked without network, if it was
	refused    error         // why the kept keyring is in use; nil: the backend's is

	loaded atomic.Pointer[snapshot] // of the last load
	access atomic.Pointer[access]

	proved map[ask.Witness]bool // where its passphrase was typed; the vault's mu guards it

	stale chan struct{} // holds a token while the keys to list when locked aren't written yet

	// The turn guards the fields below.

	told      *snapshot                               // what the keeper told last: loaded, or of a load that was given up
	given     *vaultfile.Index                        // what the keeper has; nil: none or unknown
	known     keeper.Known                            // what the device state had before; Replaced is current
	noted     keyring.Pins                            // the newest pins in the device state
	replaced  []id.Revision                           // those in the device state
	kept      struct{ members, deks backend.Version } // the keyring in the device state
	share     seenShare                               // that of the last proof
	collected time.Time                               // when unneeded DEKs were last looked for
	taken     map[string]takenCopy                    // conflict copies beside the vault file, by name
}

// access records how an unlocked vault has been refreshed.
type access struct {
	refreshed time.Time     // when the backend was last reached
	proved    clock.Instant // when the last proof was requested; zero: none since an unlock without network
	ends      clock.Instant // end of the lease; only a proof moves it
	offline   bool          // unlocked with the kept share
}

// now returns the snapshot of the last load.
func (o *openVault) now() *snapshot { return o.loaded.Load() }

// New returns a locked vault.
func New(d *Device, c config.Vault) *Vault {
	v := &Vault{d: d, name: c.Name, jobs: map[*job]bool{}}
	v.desk = ask.NewDesk(v.askPassphrase)
	v.setConfig(c)
	return v
}

// Name returns the vault's name in the config.
func (v *Vault) Name() string { return v.name }

// Locked returns an error if the vault is locked.
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

// MinIDPrefix is the least length of an id prefix that names an item or a revision,
// in characters.
const MinIDPrefix = 4

// config returns the current configuration, which must not be changed. Fields that
// belong together must come from one call.
func (v *Vault) config() *config.Vault { return v.cfg.Load() }

func (v *Vault) setConfig(c config.Vault) { v.cfg.Store(&c) }

// current returns the unlocked vault, or an error if it is locked.
func (v *Vault) current() (*openVault, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		return nil, control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "vault %q is locked", v.name)
	}
	return v.open, nil
}

// place returns where the vault's parts are.
func (v *Vault) place(vaultID id.Vault, identity id.Identity) opener.Place {
	c := v.config()
	return opener.Place{
		Name: v.name, Vault: vaultID, Identity: identity,
		Backend: c.Backend, KeyringDir: v.d.Paths.Keyring(v.name),
		Master: c.Master, DeviceDir: v.d.Paths.Device(),
		SessionDir: filepath.Join(v.d.Paths.State, "aws"),
	}
}
