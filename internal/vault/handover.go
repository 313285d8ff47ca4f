package vault

import (
	"context"
	"os"
	"sync"

	"vigil/internal/id"

	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

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
func between[R any](ctx context.Context, v *Vault, vaultID id.Vault, attach func(context.Context, *os.File) error, files []*os.File, job opener.Job[R], seen opener.Seen, ask opener.Asker) (*R, error) {
	p, err := newPair()
	if err != nil {
		return nil, err
	}
	defer p.close()
	c, err := opener.Start(ctx, v.d.Opener, vaultID, append(files, p.openers)...)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	return meet(ctx, v, c, p, attach, job, seen, ask)
}

// meet runs the job of an opener that has its end of the pair already, and ends
// the opener. The result is there, too, when the keeper failed after the job.
func meet[R any](ctx context.Context, v *Vault, c *opener.Client, p *pair, attach func(context.Context, *os.File) error, job opener.Job[R], seen opener.Seen, ask opener.Asker) (*R, error) {
	_ = p.openers.Close()
	var attached sync.WaitGroup
	var attachErr error
	attached.Go(func() {
		attachErr = attach(ctx, p.keepers)
		_ = p.keepers.Close() // so that an opener doesn't wait for a keeper that gave up
	})
	result, err := opener.Do(ctx, c, job, seen, ask)
	c.Close() // the opener's end closes with it, so that the keeper stops waiting
	attached.Wait()
	switch {
	case err != nil:
		return nil, openerError(v.name, err)
	case attachErr != nil:
		return result, keeperError(v.name, attachErr)
	}
	return result, nil
}

// attachIdentity lets an opener hand a keeper an identity's private halves.
func attachIdentity(k *keeper.Client) func(context.Context, *os.File) error {
	return func(ctx context.Context, end *os.File) error {
		_, err := k.AttachIdentity(ctx, end)
		return err
	}
}
