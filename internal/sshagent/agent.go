package sshagent

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/clock"
	"vigil/internal/policy"
	"vigil/internal/pubkey"
)

// Options configure an Agent. Keeper and Bodies are required.
type Options struct {
	Keeper          Keeper
	Bodies          Bodies
	Prompter        Prompter             // nil: keys that ask for confirmation are refused
	SecurityKeys    SecurityKeys         // nil: keys in security keys are refused
	Unlocker        Unlocker             // nil: keys of a locked vault are refused
	Refusals        Refusals             // nil: refusals are not recorded
	Vaults          []string             // order of the vaults in listings; others follow in the order they are set
	AddedSHA1       bool                 // whether keys that ssh-add adds sign with RSA and SHA-1
	DefaultLifetime time.Duration        // of keys added without a lifetime; 0: unlimited (ssh-agent -t)
	OriginOf        func(pid int) string // returns what a peer belongs to, its service or session, for grants; nil: answers hold once
	ProgramOf       func(pid int) string // returns a peer's executable for questions and refusals; may be nil
	BootTime        func() time.Duration // nil: the system's clock, which includes sleep
	Slept           func() time.Duration // nil: the system's: how much of BootTime the machine slept
	Log             *slog.Logger         // nil: discarded
}

// Agent is the state that all connections share. Its methods may be called
// concurrently. The caller closes it when done.
type Agent struct {
	o       Options
	current atomic.Pointer[snapshot]
	scratch sync.Pool // of *scratch
	verbose bool      // whether requests are logged

	plain, secret *intake // of messages without secrets, and of others
	// changing is held while the keys in the keeper change, so that keeper and
	// snapshot change in the same order. Signing does not wait for it.
	changing fair
	// guessing is held during an unlock attempt and the delay after a failure, so
	// that guessing on many connections is no faster.
	guessing fair
	failures int // failed unlocks in a row; guarded by guessing
	// asking is held while a question is shown: there is one at a time.
	asking fair
	// touching is held while the touch of a security key is waited for.
	touching     fair
	addedSigning *fair // identity.signing of added keys

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	work   sync.WaitGroup // sweeps under way

	mu     sync.Mutex // guards what follows; never held across I/O
	closed bool
	locked bool // by ssh-add -x
	added  []*identity
	epoch  int // counts ForgetAdded
	vaults map[string][]*identity
	// signing is identity.signing of each vault's keys.
	signing map[string]*fair
	order   []string
	timer   *time.Timer
	grants  *grants
	// standing are the questions that are shown or wait to be shown.
	standing map[*standing]struct{}
}

// identity is a public key or certificate in the agent. It is immutable: a change
// replaces it.
type identity struct {
	key         policy.Key
	fingerprint string // of the plain key
	comment     string
	vault       string // empty for an added key
	handle      uint64
	signer      Signer // nil if locked or unusable
	signing     *fair  // held while its keeper signs
	refusal     string // why it is unusable, if unlocking would not help
	to          []agentproto.Destination
	toBytes     int // encoded size of to; of an added key
	confirm     bool
	approve     policy.Approve
	sha1        bool          // whether RSA may sign with SHA-1
	provider    string        // of an added key in a security key; "": the default
	expires     time.Duration // in boot time; 0: never
	certExpires time.Time     // of a vault's certificate, with its grace; zero: never
}

// New returns an agent without keys. Its goroutines end with Close.
func New(o Options) *Agent {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.BootTime == nil {
		o.BootTime = clock.BootTime
	}
	if o.Slept == nil {
		o.Slept = clock.Slept
	}
	a := &Agent{
		o:        o,
		plain:    newIntake(MaxUnanswered),
		secret:   newIntake(MaxSecretBodies * agentproto.MaxMessage),
		guessing: fair{each: maxWaiting, all: maxAllWaiting},
		asking:   fair{each: maxWaiting, all: maxAllWaiting},
		touching: fair{each: maxWaiting, all: maxAllWaiting},
		signing:  make(map[string]*fair),
		standing: make(map[*standing]struct{}),
		grants:   newGrants(o.BootTime, o.Slept),
		vaults:   make(map[string][]*identity),
		verbose:  o.Log.Enabled(context.Background(), slog.LevelDebug),
		order:    slices.Clone(o.Vaults),
	}
	a.scratch.New = func() any { return newScratch() }
	a.addedSigning = newSigning()
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.timer = time.AfterFunc(time.Hour, a.sweepOnTimer)
	a.timer.Stop()
	a.publish()
	return a
}

// Close stops expiring keys and waits for sweeps under way. It doesn't end
// connections: the context passed to Serve does.
func (a *Agent) Close() {
	a.mu.Lock()
	a.closed = true
	a.timer.Stop()
	a.mu.Unlock()
	a.cancel()
	a.work.Wait()
}

// newSigning lets a keeper sign as many requests at once as it has workers for.
func newSigning() *fair { return &fair{atOnce: max(minSigning, runtime.NumCPU())} }

// SetVault replaces a vault's keys by keys, in this order. It keeps references to
// the data in keys, which the caller must not change afterwards.
func (a *Agent) SetVault(name string, keys []VaultKey) {
	known := a.current.Load()
	ids := make([]*identity, 0, len(keys))
	for i := range keys {
		ids = append(ids, known.vaultIdentity(name, &keys[i], keys[i].Blob))
		if keys[i].Certificate != nil {
			ids = append(ids, known.vaultIdentity(name, &keys[i], keys[i].Certificate))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.order, name) {
		a.order = append(a.order, name)
	}
	if a.signing[name] == nil {
		a.signing[name] = newSigning()
	}
	for _, id := range ids {
		if id.signing == nil { // set in an identity reused from a snapshot
			id.signing = a.signing[name]
		}
	}
	a.vaults[name] = ids
	a.publish()
}

// RemoveVault removes a vault's keys from the agent.
func (a *Agent) RemoveVault(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.vaults, name)
	a.publish()
}

// DropAdded removes every key that ssh-add added, from the keeper too, even
// while ssh-add -x has locked the agent (SIGUSR1, vigilctl lock).
func (a *Agent) DropAdded(ctx context.Context) error {
	if err := a.changing.take(ctx, ownPID); err != nil {
		return err
	}
	defer a.changing.give()
	a.ForgetAdded()
	return a.o.Keeper.RemoveAll(ctx)
}

// ForgetAdded removes the added keys from the agent without a call to the keeper,
// whose process has ended.
func (a *Agent) ForgetAdded() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.added = nil
	a.epoch++
	a.publish()
}

// Locked reports whether ssh-add -x has locked the agent.
func (a *Agent) Locked() bool { return a.current.Load().locked }

// Keys returns the agent's keys in listing order, even while it is locked. The
// caller must not change the slices in them.
func (a *Agent) Keys() []Info {
	s := a.fresh()
	infos := make([]Info, len(s.ids))
	for i, id := range s.ids {
		infos[i] = Info{
			Blob: id.key.Blob, Fingerprint: id.fingerprint, Comment: id.comment,
			Vault: id.vault, Confirm: id.confirm, Approve: id.approve, To: id.to, AllowSHA1: id.sha1 && id.key.Type == typeRSA,
		}
		if id.expires != 0 {
			infos[i].Left = max(id.expires-a.o.BootTime(), 1)
		}
	}
	return infos
}

// vaultIdentity returns an identity for a vault's key. It reuses the identity in s
// or at least its parsed blob: a change leaves most of a vault's keys as they are.
func (s *snapshot) vaultIdentity(vault string, k *VaultKey, blob []byte) *identity {
	id := &identity{}
	if old, ok := s.byBlob[string(blob)]; ok {
		if old.vault == vault && old.handle == k.ID && old.signer == k.Signer && old.refusal == k.Refusal &&
			old.comment == k.Comment && old.confirm == k.Confirm && old.approve == k.Approve && old.sha1 == k.AllowSHA1 && len(old.to)+len(k.To) == 0 {
			return old
		}
		id.key, id.fingerprint = old.key, old.fingerprint
	} else {
		id = newIdentity(blob)
	}
	if c := id.key.Cert; c != nil && !c.Ends().IsZero() {
		id.certExpires = c.Ends().Add(CertificateGrace)
	}
	id.comment, id.vault, id.handle = k.Comment, vault, k.ID
	id.signer, id.refusal = k.Signer, k.Refusal
	id.to, id.confirm, id.approve, id.sha1 = k.To, k.Confirm, k.Approve, k.AllowSHA1
	return id
}

// newIdentity returns an identity for a blob. A key of an unknown type is still
// listed: its keeper may know the type, and one odd key must not break a listing.
func newIdentity(blob []byte) *identity {
	key, err := policy.ParseKey(blob)
	if err != nil {
		key = policy.Key{Blob: blob, Type: pubkey.Type(blob), Plain: blob}
	}
	id := &identity{key: key, fingerprint: pubkey.SHA256(key.Plain)}
	return id
}

// overdue reports whether id is a vault's certificate that is no longer listed. One
// that ssh-add added is kept for the lifetime that ssh-add gave it, as in OpenSSH.
func (id *identity) overdue(now time.Time) bool {
	return !id.certExpires.IsZero() && !now.Before(id.certExpires)
}
