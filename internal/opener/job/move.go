package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"vigil/internal/backend"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/opener"
	"vigil/internal/ring"
)

// moveMaster moves an identity to another master key. Between two keys of AWS KMS, KMS
// re-encrypts the share; otherwise the identity gets a new share. The new unlock block is
// opened with the new master key before it is stored, so after any interruption the keyring
// has a block that opens. If only the configuration is left to change, it does nothing.
func (j *job) moveMaster(ctx context.Context, req *opener.MoveMaster) (*opener.Changed, error) {
	j.keepPassphrases()
	to, uri, err := moved(req)
	if err != nil {
		return nil, err
	}
	s, err := j.begin(ctx, req.Place, req.Passphrase)
	if err != nil {
		if opener.KindOf(sorted(err)) == opener.WrongPassphrase {
			return nil, err
		}
		there, thereErr := j.begin(ctx, to, req.Passphrase)
		if thereErr != nil {
			return nil, err
		}
		defer there.ring.Close()
		c := there.changed(nil)
		c.Already = true
		return c, nil
	}
	defer s.ring.Close()
	block, newShare, err := j.newBlock(ctx, req, s, to, uri)
	if err != nil {
		return nil, err
	}
	if err := j.opens(ctx, s, to, req.Passphrase, block); err != nil {
		return nil, fmt.Errorf("verify the share under the new master key: %w", err)
	}
	if err := s.amend(ctx, backend.Members, func(r *ring.Ring) ([]byte, error) { return r.SetUnlock(block) }); err != nil {
		return nil, err
	}
	c := s.changed(nil)
	c.NewShare = newShare
	return c, nil
}

// moved returns the place after the move.
func moved(req *opener.MoveMaster) (opener.Place, master.URI, error) {
	to := req.Place
	to.Master = req.To
	uri, err := master.ParseURI(req.To)
	return to, uri, err
}

// newBlock makes the unlock block for another master key.
func (j *job) newBlock(ctx context.Context, req *opener.MoveMaster, s *change, to opener.Place, uri master.URI) (block keyring.UnlockBlock, newShare bool, err error) {
	old, ok := s.ring.Members().Unlock(s.identity)
	if !ok {
		return block, false, errNoBlock(s.identity)
	}
	from, err := j.masterKey(ctx, req.Place)
	if err != nil {
		return block, false, err
	}
	block = old
	block.Master = uri.Scheme
	block.Share, err = from.Rewrap(ctx, old.Share, shareContext(req.Place.Vault, s.identity), uri)
	s.made.ReEncrypt += from.Calls().Operations
	if err == nil || !errors.Is(err, fault.ErrMisconfigured) {
		return block, false, err
	}
	// A share can't move between kinds of master key, or between regions.
	key, err := j.masterKey(ctx, to)
	if err != nil {
		return block, false, err
	}
	if l, ok := key.(*local.Key); ok {
		if err := l.Create(); err != nil && !errors.Is(err, fs.ErrExist) {
			return block, false, err
		}
	}
	halves, err := envelope.NewHalves(s.identity, s.seeds.Bytes())
	if err != nil {
		return block, false, err
	}
	block, err = j.sealIdentity(ctx, &opener.Create{
		Place: to, Passphrase: req.Passphrase,
		MemoryKiB: int(old.KDF.Memory), Time: int(old.KDF.Time), Lanes: int(old.KDF.Lanes),
	}, key, halves, req.Place.Vault)
	s.made.GenerateDataKey += key.Calls().Operations
	return block, true, err
}

// opens checks that an unlock block opens with the passphrase and the master key of a
// place.
func (j *job) opens(ctx context.Context, s *change, p opener.Place, pass opener.File, block keyring.UnlockBlock) error {
	me, ok := s.ring.Members().Identity(s.identity)
	if !ok {
		return ring.ErrNotAMember
	}
	o := &opened{identity: s.identity}
	var err error
	if o.seeds, err = j.slab.Alloc(envelope.HalvesSize); err != nil {
		return err
	}
	defer o.seeds.Free()
	err = j.openHalves(ctx, o, p, factors{passphrase: pass}, me, block)
	s.made.Decrypt += o.calls.Operations
	return err
}

// moveBackend copies the keyring to another place and reads it back. The old place stays
// unchanged. After an interruption, the same job continues with what the new place has.
func (j *job) moveBackend(ctx context.Context, req *opener.MoveBackend) (*opener.Changed, error) {
	place := req.Place
	place.Backend = req.To
	to, err := j.store(ctx, place)
	if err != nil {
		return nil, err
	}
	s, err := j.begin(ctx, req.Place, req.Passphrase)
	if err != nil {
		return nil, err
	}
	defer s.ring.Close()
	if err := to.Probe(ctx); err != nil {
		return nil, fmt.Errorf("try the new place: %w", err)
	}
	if s.adopt(ctx, to) {
		c := s.changed(nil)
		c.Already = true
		return c, nil
	}
	if s.refusedDeks != nil {
		return nil, s.refusedDeks
	}
	err = backend.RetrySwap(func() error {
		before := s.keyring
		there, err := s.copyTo(ctx, to)
		if err != nil {
			return fmt.Errorf("copy the keyring to the new place: %w", err)
		}
		if err := s.catchUp(ctx); err != nil {
			return err
		}
		if s.keyring.MembersVersion != before.MembersVersion || s.keyring.DeksVersion != before.DeksVersion {
			return fault.ErrConflict // another writer changed the old place meanwhile
		}
		s.keyring = there
		return nil
	}, func() error { return nil })
	if err != nil {
		return nil, err
	}
	return s.changed(nil), nil
}

// adopt takes over the keyring of another place if it is this one or a later state of
// it: another device has moved it there.
func (s *change) adopt(ctx context.Context, to backend.Store) bool {
	there, err := fetchAll(ctx, to)
	if err != nil || s.ring.Load(there.Members, there.Deks, s.known, keyring.Update{}) != nil {
		return false
	}
	s.keyring = there
	return true
}

// copyTo stores both objects at a place that is vacant or has earlier objects of the
// same keyring. deks is stored first, so that a reader that finds members finds both.
func (s *change) copyTo(ctx context.Context, to backend.Store) (there backend.Keyring, err error) {
	there = s.keyring
	if there.DeksVersion, err = s.copyObject(ctx, to, backend.Deks, s.keyring.Deks); err != nil {
		return there, err
	}
	if there.MembersVersion, err = s.copyObject(ctx, to, backend.Members, s.keyring.Members); err != nil {
		return there, err
	}
	again, err := fetchAll(ctx, to)
	if err != nil {
		return there, err
	}
	if !bytes.Equal(again.Members, there.Members) || !bytes.Equal(again.Deks, there.Deks) {
		return there, &opener.Error{Kind: opener.Misconfigured, Message: "the new place doesn't return what was written there", Next: "Nothing was changed. Find out who else writes to the new place."}
	}
	return again, nil
}

func (s *change) copyObject(ctx context.Context, to backend.Store, object backend.Object, data []byte) (backend.Version, error) {
	found, version, err := to.Get(ctx, object, "")
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return to.Put(ctx, object, data, "")
	case err != nil:
		return "", err
	case bytes.Equal(found, data):
		return version, nil
	case !s.follows(object, found):
		return "", &opener.Error{
			Kind: opener.Exists, Message: "the new place has another keyring, or one that has changed on its own since it was copied",
			Next: "Nothing was changed. Choose a vacant place, or move that keyring away.",
		}
	}
	return to.Put(ctx, object, data, version)
}

// follows reports whether the loaded keyring extends an earlier object.
func (s *change) follows(object backend.Object, earlier []byte) bool {
	if object == backend.Members {
		m, err := keyring.ParseMembers(earlier, s.ring.Vault())
		return err == nil && s.ring.Members().Extends(m.Pin()) == nil
	}
	d, err := keyring.ParseDeks(earlier, s.ring.Vault())
	return err == nil && s.ring.Deks().Extends(d.Pin()) == nil
}
