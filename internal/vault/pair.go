package vault

import (
	"context"
	"os"
	"slices"
	"sync"

	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

// pair is a private socketpair between an opener and a keeper. The front passes both
// ends on and keeps neither.
type pair struct{ openers, keepers *os.File }

func newPair() (*pair, error) {
	openers, keepers, err := ipc.ChildPair()
	if err != nil {
		return nil, err
	}
	return &pair{openers, keepers}, nil
}

// close closes the ends that weren't passed on. It may be called more than once.
func (p *pair) close() {
	_ = p.openers.Close()
	_ = p.keepers.Close()
}

// between starts an opener for one job that talks to a keeper. attach passes the
// keeper its end of the socketpair. The opener gets its end as the file after files.
func between[R any](ctx context.Context, v *Vault, vaultID id.Vault, attach func(context.Context, *os.File) error, files []*os.File, job opener.Job[R], seen opener.Seen, ask opener.Asker) (*R, error) {
	p, err := newPair()
	if err != nil {
		return nil, err
	}
	defer p.close()
	c, err := v.d.Opener.Start(ctx, vaultID, append(slices.Clip(files), p.openers)...)
	if err != nil {
		return nil, openerError(v.name, err)
	}
	return meet(ctx, v, c, p, attach, job, seen, ask)
}

// meet runs the job of an opener that already has its end of p, and then ends the
// opener. If the keeper fails after the job, meet returns both the result and an error.
func meet[R any](ctx context.Context, v *Vault, c *opener.Client, p *pair, attach func(context.Context, *os.File) error, job opener.Job[R], seen opener.Seen, ask opener.Asker) (*R, error) {
	_ = p.openers.Close()
	var attached sync.WaitGroup
	var attachErr error
	attached.Go(func() {
		attachErr = attach(ctx, p.keepers)
		_ = p.keepers.Close() // so that the opener doesn't wait for a keeper that gave up
	})
	result, err := opener.Do(ctx, c, job, seen, ask)
	c.Close() // also closes the opener's end, so that the keeper stops waiting
	attached.Wait()
	switch {
	case err != nil:
		return nil, openerError(v.name, err)
	case attachErr != nil:
		return result, keeperError(v.name, attachErr)
	}
	return result, nil
}

// attachIdentity returns a function that lets an opener give k an identity's private keys.
func attachIdentity(k *keeper.Client) func(context.Context, *os.File) error {
	return func(ctx context.Context, end *os.File) error {
		_, err := k.AttachIdentity(ctx, end)
		return err
	}
}
