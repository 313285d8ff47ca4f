package vault

import (
	"context"
	"errors"
	"os"
	"sync"

	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

// handOver connects an opener with the keeper, and lets it open the identity.
func (v *Vault) handOver(ctx context.Context, k *keeper.Client, req opener.Request, passphrase *os.File, ask opener.Asker) (*opener.Unlocked, error) {
	var reply opener.Reply
	attach := func(ctx context.Context, end *os.File) error {
		_, err := k.AttachIdentity(ctx, end)
		return err
	}
	if err := v.between(ctx, attach, []*os.File{passphrase}, req, &reply, ask); err != nil {
		return nil, err
	}
	if reply.Unlock == nil {
		return nil, errors.New("unlock: the opener gave no answer")
	}
	return reply.Unlock, nil
}

// pair is a private socketpair between an opener and a keeper. The front passes
// on both ends and keeps neither.
type pair struct{ openers, keepers *os.File }

func newPair() (*pair, error) {
	openers, keepers, err := ipc.ChildPair()
	if err != nil {
		return nil, err
	}
	return &pair{openers, keepers}, nil
}

// close closes what wasn't passed on. It may be called again.
func (p *pair) close() {
	_ = p.openers.Close()
	_ = p.keepers.Close()
}

// between starts an opener for one job that meets a keeper, to which attach
// passes the keeper's end. The socketpair is the opener's file after files.
func (v *Vault) between(ctx context.Context, attach func(context.Context, *os.File) error, files []*os.File, req opener.Request, reply *opener.Reply, ask opener.Asker) error {
	p, err := newPair()
	if err != nil {
		return err
	}
	defer p.close()
	c, err := opener.Start(ctx, v.d.Opener, req.VaultID(), append(files, p.openers)...)
	if err != nil {
		return openerError(v.name, err)
	}
	*reply, err = v.meet(ctx, c, p, attach, req, ask)
	return err
}

// meet runs the job of an opener that has its end of the pair already, and ends
// the opener.
func (v *Vault) meet(ctx context.Context, c *opener.Client, p *pair, attach func(context.Context, *os.File) error, req opener.Request, ask opener.Asker) (opener.Reply, error) {
	_ = p.openers.Close()
	var attached sync.WaitGroup
	var attachErr error
	attached.Go(func() {
		attachErr = attach(ctx, p.keepers)
		_ = p.keepers.Close() // so that an opener doesn't wait for a keeper that gave up
	})
	reply, err := c.Do(ctx, req, ask)
	c.Close() // the opener's end closes with it, so that the keeper stops waiting
	attached.Wait()
	switch {
	case err != nil:
		return reply, openerError(v.name, err)
	case attachErr != nil:
		return reply, keeperError(v.name, attachErr)
	}
	return reply, nil
}
