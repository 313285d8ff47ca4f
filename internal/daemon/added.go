package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/sshagent"
	"vigil/internal/turn"
	"vigil/internal/vault"
)

// addedKeeper is the keeper of the keys that ssh-add adds. Its process exists only
// while it has something to hold.
type addedKeeper struct {
	d     *Daemon
	turn  turn.Turn // one start or end at a time
	cell  cell[keeper.Client]
	watch sync.WaitGroup // one for each process, until it has ended
}

// running returns the keeper, or nil.
func (k *addedKeeper) running() *keeper.Client { return k.cell.get() }

// started returns the keeper. It starts it if necessary.
func (k *addedKeeper) started(ctx context.Context) (*keeper.Client, error) {
	if c := k.cell.get(); c != nil {
		return c, nil
	}
	if err := k.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer k.turn.Give()
	if c := k.cell.get(); c != nil {
		return c, nil
	}
	c, err := keeper.Start(ctx, keeper.Options{Exe: k.d.o.Exe})
	if err != nil {
		return nil, err
	}
	k.cell.set(c)
	k.watch.Go(func() {
		<-c.Done()
		if k.cell.clear(c) { // the keeper ended by itself
			k.d.log.Error("keeper of added keys ended by itself", "err", c.Exit())
			k.d.agent.ForgetAdded()
		}
	})
	return c, nil
}

// close ends the process.
func (k *addedKeeper) close() {
	if c := k.cell.take(); c != nil {
		c.Close()
	}
}

// Sign signs with an added key. See [sshagent.Signer].
func (k *addedKeeper) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	c := k.running()
	if c == nil {
		return nil, sshagent.ErrNoKey
	}
	return vault.Signer{Keeper: c}.Sign(ctx, key, data, flags, dst)
}

// SignThrough signs with an added key in a security key. See [sshagent.Signer].
func (k *addedKeeper) SignThrough(ctx context.Context, key uint64, data []byte, provider string, helper, pin *os.File, dst []byte) ([]byte, error) {
	c := k.running()
	if c == nil {
		return nil, sshagent.ErrNoKey
	}
	return vault.Signer{Keeper: c}.SignThrough(ctx, key, data, provider, helper, pin, dst)
}

// Add gives a key to the keeper. See [sshagent.Keeper].
func (k *addedKeeper) Add(ctx context.Context, body *guard.Buffer, constrained bool) (sshagent.Added, error) {
	c, err := k.started(ctx)
	if err != nil {
		return sshagent.Added{}, err
	}
	a, err := c.Add(ctx, body, constrained)
	if err != nil {
		return sshagent.Added{}, err
	}
	constraints, err := agentproto.ParseConstraints(a.Constraints)
	if err != nil {
		return sshagent.Added{}, errors.Join(err, c.Remove(ctx, a.Key))
	}
	return sshagent.Added{Key: a.Key, Blob: a.Blob, Comment: a.Comment, Constraints: constraints}, nil
}

// Remove removes a key. See [sshagent.Keeper].
func (k *addedKeeper) Remove(ctx context.Context, key uint64) error {
	c := k.running()
	if c == nil {
		return nil
	}
	if err := c.Remove(ctx, key); err != nil && !errors.Is(err, keeper.ErrNoKey) && !errors.Is(err, keeper.ErrGone) {
		return err
	}
	return nil
}

// RemoveAll removes all keys by ending the process. While ssh-add -x holds, the
// process has its passphrase, so only the keys are removed.
func (k *addedKeeper) RemoveAll(ctx context.Context) error {
	c := k.running()
	if c == nil {
		return nil
	}
	if !k.d.agent.Locked() {
		k.close()
		return nil
	}
	return c.RemoveAll(ctx)
}

// Lock sets the passphrase of ssh-add -x. See [sshagent.Keeper].
func (k *addedKeeper) Lock(ctx context.Context, body *guard.Buffer) error {
	c, err := k.started(ctx)
	if err != nil {
		return err
	}
	return c.Lock(ctx, body)
}

// Unlock checks the passphrase of ssh-add -X. See [sshagent.Keeper].
func (k *addedKeeper) Unlock(ctx context.Context, body *guard.Buffer) error {
	c := k.running()
	if c == nil {
		// Its passphrase is lost, and whoever can kill the process must not be able
		// to unlock.
		return errors.New("the process that checks the passphrase has ended: restart vigild")
	}
	return c.Unlock(ctx, body)
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
