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

// Options are what an Agent works with. Keeper and Bodies are required.
type Options struct {
	Keeper          Keeper
	Bodies          Bodies
	Prompter        Prompter             // nil: keys that ask for confirmation are refused
	Unlocker        Unlocker             // nil: keys of a locked vault are refused
	Refusals        Refusals             // nil: refusals are noted nowhere
	Vaults          []string             // order of the vaults in listings; others follow as they come
	DefaultLifetime time.Duration        // of keys added without a lifetime; 0: unlimited (ssh-agent -t)
	ProgramOf       func(pid int) string // names a peer's executable for questions and refusals; may be nil
	BootTime        func() time.Duration // nil: the system's clock that goes on in sleep
	Log             *slog.Logger         // nil: discarded
}

// Agent is the state all connections share. Its methods may be called
// concurrently. Close it when done.
type Agent struct {
	o       Options
	current atomic.Pointer[snapshot]
	scratch sync.Pool // of *scratch
	verbose bool      // whether requests are logged

	plain, secret *intake // of messages without secrets, and of others
	// changing is held by who changes what the keeper holds, so that keeper and
	// snapshot change in the same order. Signing does not wait for it.
	changing fair
	// guessing is held by who tries to unlock, through the delay after a failure,
	// so that guessing on many connections is no faster.
	guessing fair
	failures int // failed unlocks in a row; guarded by guessing
	// asking is held by whose question stands: one is shown at a time.
	asking       fair
	addedSigning *fair // as identity.signing

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	work   sync.WaitGroup // sweeps under way

	mu     sync.Mutex // guards what follows; never held across I/O
	closed bool
	locked bool // by ssh-add -x
	added  []*identity
	epoch  int // counts ForgetAdded
	vaults map[string][]*identity
	// signing is that of each vault's identities, see there.
	signing map[string]*fair
	order   []string
	timer   *time.Timer
	// standing are the questions that stand or wait to be shown.
	standing map[*standing]struct{}
}

// identity is a public key or certificate in the agent. It never changes:
// another one takes its place.
type identity struct {
	key         policy.Key
	fingerprint string // of the plain key
	comment     string
	vault       string // empty for an added key
	handle      uint64
	signer      Signer // nil when locked or unusable
	signing     *fair  // held while its keeper signs
	refusal     string // why it is unusable, when unlocking would not help
	to          []agentproto.Destination
	toBytes     int // of to as it came; of an added key
	confirm     bool
	expires     time.Duration // in boot time; 0: never
	certExpires time.Time     // zero: never
}

// New returns an agent without keys. Its goroutines end with Close.
func New(o Options) *Agent {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.BootTime == nil {
		o.BootTime = clock.BootTime
	}
	a := &Agent{
		o:        o,
		plain:    newIntake(MaxUnanswered),
		secret:   newIntake(MaxSecretBodies * agentproto.MaxMessage),
		guessing: fair{each: maxWaiting, all: maxAllWaiting},
		asking:   fair{each: maxWaiting, all: maxAllWaiting},
		signing:  make(map[string]*fair),
		standing: make(map[*standing]struct{}),
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

// Close stops expiring keys and waits for what is under way. Connections end
// with the context they were served under, before or after.
func (a *Agent) Close() {
	a.mu.Lock()
	a.closed = true
	a.timer.Stop()
	a.mu.Unlock()
	a.cancel()
	a.work.Wait()
}

// newSigning lets a keeper have as much to sign as it can do at once.
func newSigning() *fair { return &fair{atOnce: max(minSigning, runtime.NumCPU())} }

// SetVault makes keys the keys of a vault, in this order, in place of those it
// had. It keeps what keys point to; the caller changes nothing in it afterwards.
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
		if id.signing == nil { // of a snapshot's own, it is what it was
			id.signing = a.signing[name]
		}
	}
	a.vaults[name] = ids
	a.publish()
}

// RemoveVault takes a vault's keys out of the agent.
func (a *Agent) RemoveVault(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.vaults, name)
	a.publish()
}

// DropAdded removes every key that ssh-add added, from the keeper too, even
// when ssh-add -x locked the agent (SIGUSR1, vigilctl lock).
func (a *Agent) DropAdded(ctx context.Context) error {
	if err := a.changing.take(ctx, ownPID); err != nil {
		return err
	}
	defer a.changing.give()
	a.ForgetAdded()
	return a.o.Keeper.RemoveAll(ctx)
}

// ForgetAdded takes the added keys out of the agent without asking the keeper:
// its process is gone.
func (a *Agent) ForgetAdded() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.added = nil
	a.epoch++
	a.publish()
}

// Locked reports whether ssh-add -x locked the agent.
func (a *Agent) Locked() bool { return a.current.Load().locked }

// Keys returns what the agent holds, in listing order, also when it is locked.
// The caller must not change the slices in it.
func (a *Agent) Keys() []Info {
	s := a.fresh()
	infos := make([]Info, len(s.ids))
	for i, id := range s.ids {
		infos[i] = Info{
			Blob: id.key.Blob, Fingerprint: id.fingerprint, Comment: id.comment,
			Vault: id.vault, Confirm: id.confirm, To: id.to,
		}
		if id.expires != 0 {
			infos[i].Left = max(id.expires-a.o.BootTime(), 1)
		}
	}
	return infos
}

// vaultIdentity is an identity of a vault's key: that of s, or at least what s has
// read of its blob. Most of a vault stays as it is when it changes.
func (s *snapshot) vaultIdentity(vault string, k *VaultKey, blob []byte) *identity {
	id := &identity{}
	if old, ok := s.byBlob[string(blob)]; ok {
		if old.vault == vault && old.handle == k.ID && old.signer == k.Signer && old.refusal == k.Refusal &&
			old.comment == k.Comment && old.confirm == k.Confirm && len(old.to)+len(k.To) == 0 {
			return old
		}
		id.key, id.fingerprint, id.certExpires = old.key, old.fingerprint, old.certExpires
	} else {
		id = newIdentity(blob)
	}
	id.comment, id.vault, id.handle = k.Comment, vault, k.ID
	id.signer, id.refusal = k.Signer, k.Refusal
	id.to, id.confirm = k.To, k.Confirm
	return id
}

// newIdentity reads a blob. One of a type not known here still lists: its
// keeper may know it, and a listing must not break at one odd key.
func newIdentity(blob []byte) *identity {
	key, err := policy.ParseKey(blob)
	if err != nil {
		key = policy.Key{Blob: blob, Type: pubkey.Type(blob), Plain: blob}
	}
	id := &identity{key: key, fingerprint: pubkey.SHA256(key.Plain)}
	if c := key.Cert; c != nil {
		id.certExpires = certificateEnd(c.ValidBefore)
	}
	return id
}

// lastSecond is the latest end of a certificate that is taken for a time at
// all: the year 9999. Later ones, "for ever" among them, are never.
const lastSecond = 253402300799

func certificateEnd(validBefore uint64) time.Time {
	if validBefore > lastSecond {
		return time.Time{}
	}
	return time.Unix(int64(validBefore), 0).Add(CertificateGrace)
}
