// Package daemon is the front: the resident process that listens and decides. It
// connects the agent (package sshagent), the control socket (package control), the
// vaults (package vault), the keepers that hold keys and the openers that run jobs.
//
// It holds public keys, metadata, ciphertext and both keyring objects in memory. It
// never holds a passphrase, a KEK, a DEK or a private key.
//
//	daemon.go    start, serve, stop
//	added.go     the keeper of the keys that ssh-add adds
//	confirm.go   asking a person before a key is used
//	autolock.go  locking when the owner has gone
//	handler.go   vigilctl's requests; package vault does most of the work
//	unlocking.go a signature that needs a locked vault
//	session.go   where people are asked
//	why.go       the newest refusals
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"vigil/internal/ask"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/logfile"
	"vigil/internal/opener"
	"vigil/internal/paths"
	"vigil/internal/securitykey"
	"vigil/internal/sshagent"
	"vigil/internal/state"
	"vigil/internal/unixsock"
	"vigil/internal/vault"
)

// frontMemory is the initial size of the front's guarded memory in bytes: for the
// bodies of ssh-add's messages on their way to the keeper. It grows while many arrive.
const frontMemory = 64 << 10

// maxVaults bounds the vaults: one whose creation failed is known by its name until
// the daemon ends, and a request costs nothing.
const maxVaults = 256

// Options configure a daemon.
type Options struct {
	Paths paths.Paths
	// Config names the vaults. Nil: there are none, nothing under Paths is read or
	// written, and refusals are logged, as there is no vigilctl to show them.
	Config *config.Config
	Log    *slog.Logger
	// Exe is the program that starts a keeper: /proc/self/exe on Linux.
	Exe string
	// Opener is vigil-opener.
	Opener *opener.Program
	// Asker is vigilctl as an asker, for prompts in Places (nil: there are none); nil:
	// nobody is asked to unlock.
	Asker  *ask.Program
	Places *ask.Places
	// Prompter shows what security keys wait for, and asks for their PINs; without an
	// Asker it also confirms uses of keys that require it.
	Prompter Prompter
	// Presence tells when to lock. Nil: nothing does.
	Presence Presence
	// Lifetime is the lifetime of keys added without one; 0: unlimited.
	Lifetime time.Duration
	// Providers are the patterns of libraries that ssh-add may name as providers of
	// security keys, as after `ssh-agent -P`; "": the default.
	Providers string
	// LogFile is where the log goes, for status; "": standard error.
	LogFile string
	// Hardening is how the front protects itself, for status.
	Hardening guard.Hardening

	lingers time.Duration // of the keeper of added keys, in tests; 0: the constant of that name
}

// Daemon is the front.
type Daemon struct {
	o        Options
	log      *slog.Logger
	state    *state.Store
	slab     *guard.Slab
	agent    *sshagent.Agent
	added    *addedKeeper
	tokens   *securityKeys
	approver *approver
	why      *refusals
	started  time.Time

	device *vault.Device
	mu     sync.Mutex     // guards vaults
	vaults []*vault.Vault // in config order

	conns  sync.WaitGroup // agent connections
	crowd  *unixsock.Crowd
	memory thrift
	cancel context.CancelFunc
}

// New returns a daemon that isn't serving. Close it if Run isn't called.
func New(o Options) (*Daemon, error) {
	if o.Log != nil {
		o.Log = slog.New(logfile.Limit(o.Log.Handler()))
	}
	if o.Places == nil {
		o.Places = &ask.Places{}
	}
	why := newRefusals()
	var store *state.Store
	var vaults []config.Vault
	addedSHA1, helper, provider, memory := false, "", "", guard.SecretMemory
	if o.Config == nil {
		why.log = o.Log
	} else {
		var err error
		if store, err = state.Open(o.Paths.State); err != nil {
			return nil, err
		}
		vaults, addedSHA1, memory = o.Config.Vaults, o.Config.AddedSHA1, o.Config.SecretMemory
		helper, provider = o.Config.SecurityKeyHelper, o.Config.SecurityKeyProvider
	}
	slab, err := memory.NewSlab(frontMemory)
	if err != nil {
		return nil, fmt.Errorf("set up guarded memory: %w", err)
	}
	d := &Daemon{
		o: o, log: o.Log, state: store, slab: slab, why: why, started: time.Now(),
		crowd: unixsock.NewCrowd(mostConnections()),
	}
	keepers := keeper.Options{Exe: o.Exe, Memory: memory}
	d.added = &addedKeeper{d: d, start: keepers, lingers: cmp.Or(o.lingers, lingers)}
	d.tokens = &securityKeys{
		helper: securitykey.New(helper), prompter: o.Prompter, provider: provider,
		allowed: cmp.Or(o.Providers, securitykey.DefaultProviders),
	}
	names := make([]string, 0, len(vaults))
	for _, v := range vaults {
		names = append(names, v.Name)
	}
	d.approver = &approver{d: d}
	d.agent = sshagent.New(sshagent.Options{
		Keeper: d.added, Bodies: bodies{slab}, Prompter: d.approver, Refusals: d.why, Vaults: names,
		SecurityKeys: d.tokens, Unlocker: unlocker{d},
		AddedSHA1: addedSHA1, DefaultLifetime: o.Lifetime, ProgramOf: programOf, OriginOf: originOf, Log: o.Log,
	})
	d.device = &vault.Device{
		Paths: o.Paths, State: store, Log: o.Log, Keeper: keepers, Opener: o.Opener, Agent: d.agent, Refused: why.note, CanAsk: o.Prompter.Available,
		Asker: o.Asker, Places: o.Places,
		LargeRead: d.memory.largeRead,
	}
	for _, c := range vaults {
		d.vaults = append(d.vaults, vault.New(d.device, c))
	}
	return d, nil
}

// endKeepers ends every keeper.
func (d *Daemon) endKeepers() {
	for _, v := range d.all() {
		v.Close()
	}
	d.added.close()
}

// Close ends the keepers and releases the daemon's memory.
func (d *Daemon) Close() {
	d.endKeepers()
	d.agent.Close()
	d.added.close() // a keeper that was started meanwhile
	d.added.watches.Wait()
	for _, v := range d.all() {
		v.Wait()
	}
	d.memory.close()
	_ = d.slab.Close()
}

// Run serves the sockets until ctx ends or vigilctl asks to stop. Then it locks
// everything and returns once every goroutine has ended. control may be nil. Run
// calls ready when the sockets answer.
func (d *Daemon) Run(ctx context.Context, agent, control *unixsock.Listener, ready func()) error {
	unixsock.CloseOnExec() // keepers and openers must not inherit descriptors that a shell left open
	ctx, d.cancel = context.WithCancel(ctx)
	defer d.cancel()
	defer d.Close()
	for _, v := range d.all() {
		v.ShowLocked()
	}
	// At once, not after the last request: a stopped keeper would block its clients,
	// and with them the daemon.
	defer context.AfterFunc(ctx, d.endKeepers)()
	var serving sync.WaitGroup
	var errs [2]error
	serving.Go(func() {
		defer d.cancel()
		errs[0] = d.serveAgent(ctx, agent)
	})
	if control != nil {
		serving.Go(func() {
			defer d.cancel()
			errs[1] = d.serveControl(ctx, control)
		})
	}
	serving.Go(func() { d.watchPresence(ctx) })
	ready()
	serving.Wait()
	d.conns.Wait()
	return errors.Join(errs[:]...)
}

func (d *Daemon) serveControl(ctx context.Context, l *unixsock.Listener) error {
	s := control.NewServer(d.log, (&handler{d}).operations()...)
	s.Several = func() bool { return len(d.all()) > 1 }
	if err := s.Serve(ctx, l); err != nil {
		return fmt.Errorf("serve %q: %w", l.Path(), err)
	}
	return nil
}

// serveAgent accepts connections until ctx ends.
func (d *Daemon) serveAgent(ctx context.Context, l *unixsock.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		accepted, peer, err := l.Accept()
		var foreign *unixsock.ForeignPeerError
		switch {
		case errors.As(err, &foreign):
			d.why.foreign(foreign)
			continue
		case errors.Is(err, unixsock.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("serve %q: %w", l.Path(), err)
		}
		stream, err := unixsock.NewStream(accepted)
		if err != nil {
			_ = accepted.Close()
			continue
		}
		conn := agentConn{stream, d.crowd.Enter(stream, peer.PID)}
		d.conns.Go(func() {
			defer d.memory.connectionEnded()
			defer conn.guest.Leave()
			if err := d.agent.Serve(ctx, conn, sshagent.Peer{PID: peer.PID, UID: int(peer.UID)}); err != nil {
				d.log.Info("agent connection ended", "pid", peer.PID, "err", err)
			}
		})
	}
}

// all returns the vaults in config order.
func (d *Daemon) all() []*vault.Vault {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.vaults)
}

// find returns the vault called name, or the first one for "".
func (d *Daemon) find(name string) (*vault.Vault, error) {
	for _, v := range d.all() {
		if v.Name() == name || name == "" {
			return v, nil
		}
	}
	if name == "" {
		return nil, control.Errorf(control.CodeNotFound, "`vigilctl up` makes one.", "there is no vault yet")
	}
	return nil, control.Errorf(control.CodeNotFound, "`vigilctl status` lists the vaults; `vigilctl init --vault "+name+"` makes one.", "no vault %q", name)
}

// findNamed is find for what isn't done to the default vault unless it is named.
func (d *Daemon) findNamed(name string) (*vault.Vault, error) {
	if name == "" {
		return nil, control.Errorf(control.CodeUsage, "`vigilctl status` lists the vaults.", "no vault is named")
	}
	return d.find(name)
}

// replace puts another vault in the place of one, or nothing if it is nil.
func (d *Daemon) replace(old, with *vault.Vault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch i := slices.Index(d.vaults, old); {
	case i < 0:
	case with == nil:
		d.vaults = slices.Delete(d.vaults, i, i+1)
	default:
		d.vaults[i] = with
	}
}

// discover adds the vaults that are configured, or lie in their default place, since the
// daemon started, as after a restore from a backup.
func (d *Daemon) discover() {
	if d.o.Config == nil {
		return
	}
	now, err := config.Load(d.o.Paths)
	if err != nil {
		return // doctor says what is wrong with it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range now.Vaults {
		known := slices.ContainsFunc(d.vaults, func(v *vault.Vault) bool { return v.Name() == c.Name })
		if !known && len(d.vaults) < maxVaults {
			d.vaults = append(d.vaults, vault.New(d.device, c))
		}
	}
}

// findOrAdd is find for a vault to be created.
func (d *Daemon) findOrAdd(name string) (*vault.Vault, error) {
	if v, err := d.find(name); err == nil {
		return v, nil
	}
	if name == "" {
		name = config.DefaultVault
	}
	if err := paths.CheckName(name); err != nil {
		return nil, control.Errorf(control.CodeUsage, "Choose another name.", "%v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.vaults { // another request may have been first
		if v.Name() == name {
			return v, nil
		}
	}
	if len(d.vaults) >= maxVaults {
		return nil, control.Errorf(control.CodeRefused, "Restart the daemon (`vigilctl down`, `vigilctl up`): vaults whose creation failed no longer count then.",
			"vigild knows %d vaults already, the most it takes", len(d.vaults))
	}
	v := vault.New(d.device, config.Vault{Name: name, VaultConfig: config.Defaults(d.o.Paths, name)})
	d.vaults = append(d.vaults, v)
	return v, nil
}

// programOf names a process's program for display, or returns "" if it has ended.
func programOf(pid int) string {
	p, _ := unixsock.Describe(pid)
	return p.Program()
}
