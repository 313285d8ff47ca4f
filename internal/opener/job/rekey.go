package job

import (
	"context"
	"errors"

	"vigil/internal/backend"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/ring"
)

// rekey changes the passphrase of an identity in one write of members: a new share,
// new key pairs, and a KEK that the old ones never opened. The rotation follows. A
// crash before that write changes nothing. After it the new passphrase is valid, and
// the next rotation finishes the rest.
func (j *job) rekey(ctx context.Context, req *opener.Rekey) (*opener.Changed, error) {
	s, err := j.begin(ctx, req.Place, req.Passphrase)
	if err != nil {
		return nil, err
	}
	defer func() { s.ring.Close() }()
	next, seeds, err := j.nextHalves(ctx, req, s)
	if err != nil {
		return nil, err
	}
	fresh, err := ring.New(s.ring.Vault(), s.identity, seeds, j.slab.Alloc)
	if err != nil {
		return nil, err
	}
	if err := s.replaceKeys(ctx, next, fresh); err != nil {
		fresh.Close()
		return nil, err
	}
	s.seeds = seeds
	c := s.changed(s.finishRotation(ctx))
	if req.Keeper != 0 {
		c.HandedOver = j.handOverIdentity(req.Keeper, s) == nil
	}
	return c, nil
}

// rekeyed is an identity's new keys.
type rekeyed struct {
	halves *envelope.Halves
	block  keyring.UnlockBlock
}

// nextHalves makes new key pairs, and seals them with the new passphrase and a new
// share. The caller frees the seeds.
func (j *job) nextHalves(ctx context.Context, req *opener.Rekey, s *change) (*rekeyed, *guard.Buffer, error) {
	old, ok := s.ring.Members().Unlock(s.identity)
	if !ok {
		return nil, nil, errNoBlock(s.identity)
	}
	key, err := j.masterKey(ctx, req.Place)
	if err != nil {
		return nil, nil, err
	}
	seeds, err := j.slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return nil, nil, err
	}
	next := &rekeyed{}
	if next.halves, err = envelope.GenerateHalves(s.identity, seeds.Bytes()); err == nil {
		next.block, err = j.sealIdentity(ctx, &opener.Create{
			Place: req.Place, Passphrase: req.NewPassphrase,
			MemoryKiB: or(req.MemoryKiB, int(old.KDF.Memory)), Time: or(req.Time, int(old.KDF.Time)), Lanes: or(req.Lanes, int(old.KDF.Lanes)),
		}, key, next.halves, req.Place.Vault)
	}
	if err != nil {
		seeds.Free()
		return nil, nil, err
	}
	s.made.GenerateDataKey += key.Calls().Operations
	return next, seeds, nil
}

func or(n, otherwise int) int {
	if n != 0 {
		return n
	}
	return otherwise
}

// replaceKeys stores members with the new keys and continues with fresh, a ring of
// the new keys: the old ring can make this change but not read it.
func (s *change) replaceKeys(ctx context.Context, next *rekeyed, fresh *ring.Ring) error {
	return backend.RetrySwap(func() error {
		data, err := s.ring.Rekey(next.halves, next.block)
		if err != nil {
			return err
		}
		err = s.put(ctx, backend.Members, data)
		if errors.Is(err, fault.ErrConflict) {
			return err
		}
		if err != nil {
			e := sorted(err)
			e.Next = "Unlock with the new passphrase, and with the old one if that is refused: the answer of the backend was lost. Nothing else was changed."
			return e
		}
		s.ring.Close()
		s.ring = fresh
		return s.load(s.keyring)
	}, func() error { return s.catchUp(ctx) })
}

// handOverIdentity gives the identity's new private keys to the keeper.
func (j *job) handOverIdentity(to opener.File, s *change) error {
	keeper, err := handed(to)
	if err != nil {
		return err
	}
	defer keeper.Close()
	return handover.Identity(keeper, j.vault, s.identity, s.seeds.Bytes())
}
