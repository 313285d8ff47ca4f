package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/sshagent"
	"vigil/internal/turn"
	"vigil/internal/vault"
)

// lingers is how long the keeper stays when it holds nothing: keys that come and go, and
// messages that are no keys, start no process each.
const lingers = time.Second

// addedKeeper is the keeper of the keys that ssh-add adds. Its process exists only
// while it has something to hold, and for a moment after.
type addedKeeper struct {
	d       *Daemon
	start   keeper.Options
	lingers time.Duration // how long it stays when it holds nothing
	turn    turn.Turn     // one start at a time
	cell    cell[addedProcess]
	watches sync.WaitGroup // one for each process, until it has ended

	mu sync.Mutex // guards what the process in cell holds, and its removal for holding nothing
}

// addedProcess is a process, and what it holds.
type addedProcess struct {
	*keeper.Client
	calls  int             // that may give it something
	keys   map[uint64]bool // by their handles
	locked bool            // it has the passphrase of ssh-add -x
	left   chan struct{}   // holds a token if it may hold nothing any more
}

// empty reports whether p holds nothing and is given nothing.
func (p *addedProcess) empty() bool { return p.calls == 0 && len(p.keys) == 0 && !p.locked }

// running returns the keeper, or nil.
func (k *addedKeeper) running() *addedProcess { return k.cell.get() }

// started returns the keeper for a call that may give it something, and starts it if
// necessary. The caller calls called.
func (k *addedKeeper) started(ctx context.Context) (*addedProcess, error) {
	if p := k.join(); p != nil {
		return p, nil
	}
	if err := k.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer k.turn.Give()
	if p := k.join(); p != nil {
		return p, nil
	}
	c, err := keeper.Start(ctx, k.start)
	if err != nil {
		return nil, err
	}
	p := &addedProcess{Client: c, calls: 1, keys: make(map[uint64]bool), left: make(chan struct{}, 1)}
	k.cell.set(p)
	k.watches.Go(func() { k.watch(p) })
	return p, nil
}

// watch returns when p has ended. It ends p when it has held nothing for a while: its
// memory would keep the machine from hibernating.
func (k *addedKeeper) watch(p *addedProcess) {
	var lingered <-chan time.Time
	for {
		select {
		case <-p.left:
			lingered = time.After(k.lingers)
		case <-lingered:
			k.mu.Lock()
			ends := p.empty() && k.cell.clear(p)
			k.mu.Unlock()
			if ends {
				p.Close()
			}
		case <-p.Done():
			if k.cell.clear(p) { // the keeper ended by itself
				k.d.log.Error("keeper of added keys ended by itself", "err", p.Exit())
				k.d.agent.ForgetAdded()
			}
			return
		}
	}
}

// join returns the running keeper for a call that may give it something, or nil.
func (k *addedKeeper) join() *addedProcess {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.cell.get()
	if p != nil {
		p.calls++
	}
	return p
}

// called ends a call that may have given p something.
func (k *addedKeeper) called(p *addedProcess) { k.note(p, func() { p.calls-- }) }

// note changes what is known of p.
func (k *addedKeeper) note(p *addedProcess, change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	if !p.empty() {
		return
	}
	select {
	case p.left <- struct{}{}:
	default: // it holds one
	}
}

// close ends the process.
func (k *addedKeeper) close() {
	if p := k.cell.take(); p != nil {
		p.Close()
	}
}

// Sign signs with an added key. See [sshagent.Signer].
func (k *addedKeeper) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	c := k.running()
	if c == nil {
		return nil, sshagent.ErrNoKey
	}
	return vault.Signer{Keeper: c.Client}.Sign(ctx, key, data, flags, dst)
}

// SignThrough signs with an added key in a security key. See [sshagent.Signer].
func (k *addedKeeper) SignThrough(ctx context.Context, key uint64, data []byte, provider string, helper, pin *os.File, dst []byte) ([]byte, error) {
	c := k.running()
	if c == nil {
		return nil, sshagent.ErrNoKey
	}
	return vault.Signer{Keeper: c.Client}.SignThrough(ctx, key, data, provider, helper, pin, dst)
}

// Add gives a key to the keeper. See [sshagent.Keeper].
func (k *addedKeeper) Add(ctx context.Context, body *guard.Buffer, constrained bool) (sshagent.Added, error) {
	p, err := k.started(ctx)
	if err != nil {
		return sshagent.Added{}, err
	}
	defer k.called(p)
	a, err := p.Add(ctx, body, constrained)
	if err != nil {
		return sshagent.Added{}, err
	}
	constraints, err := agentproto.ParseConstraints(a.Constraints)
	if err != nil {
		return sshagent.Added{}, errors.Join(err, p.Remove(ctx, a.Key))
	}
	k.note(p, func() { p.keys[a.Key] = true })
	return sshagent.Added{Key: a.Key, Blob: a.Blob, Comment: a.Comment, Constraints: constraints}, nil
}

// Remove removes a key. See [sshagent.Keeper].
func (k *addedKeeper) Remove(ctx context.Context, key uint64) error {
	p := k.running()
	if p == nil {
		return nil
	}
	if err := p.Remove(ctx, key); err != nil && !errors.Is(err, keeper.ErrNoKey) && !errors.Is(err, keeper.ErrGone) {
		return err
	}
	k.note(p, func() { delete(p.keys, key) })
	return nil
}

// RemoveAll removes all keys by ending the process. While ssh-add -x holds, the
// process has its passphrase, so only the keys are removed.
func (k *addedKeeper) RemoveAll(ctx context.Context) error {
	p := k.running()
	if p == nil {
		return nil
	}
	if !k.d.agent.Locked() {
		k.close()
		return nil
	}
	if err := p.RemoveAll(ctx); err != nil {
		return err
	}
	k.note(p, func() { clear(p.keys) })
	return nil
}

// Lock sets the passphrase of ssh-add -x. See [sshagent.Keeper].
func (k *addedKeeper) Lock(ctx context.Context, body *guard.Buffer) error {
	p, err := k.started(ctx)
	if err != nil {
		return err
	}
	defer k.called(p)
	if err := p.Lock(ctx, body); err != nil {
		return err
	}
	k.note(p, func() { p.locked = true })
	return nil
}

// Unlock checks the passphrase of ssh-add -X. See [sshagent.Keeper].
func (k *addedKeeper) Unlock(ctx context.Context, body *guard.Buffer) error {
	p := k.running()
	if p == nil {
		// Its passphrase is lost, and whoever can kill the process must not be able
		// to unlock.
		return errors.New("the process that checks the passphrase has ended: restart vigild")
	}
	if err := p.Unlock(ctx, body); err != nil {
		return err
	}
	k.note(p, func() { p.locked = false })
	return nil
}

// cell holds one value or none. Its zero value is empty.
type cell[T any] struct{ p atomic.Pointer[T] }

func (c *cell[T]) get() *T           { return c.p.Load() }
func (c *cell[T]) set(v *T)          { c.p.Store(v) }
func (c *cell[T]) take() *T          { return c.p.Swap(nil) }
func (c *cell[T]) clear(old *T) bool { return c.p.CompareAndSwap(old, nil) }

// bodies allocates the guarded memory for ssh-add's messages. While this process is
// traced it allocates none, so the messages stay in the socket.
type bodies struct{ slab *guard.Slab }

// Alloc allocates n bytes. See [sshagent.Bodies].
func (b bodies) Alloc(n int) (*guard.Buffer, error) {
	if err := guard.UntracedSelf(); err != nil {
		return nil, err
	}
	return b.slab.Alloc(n)
}
