package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/ring"
)

// session is one change of the keyring by an identity whose passphrase was
// given again: the opened identity, and where the keyring is.
type session struct {
	*opened
	store backend.Store
	known keyring.Known
	// refusedDeks is why the deks that the store has doesn't count; the keyring has
	// the one that does, and the version of the other.
	refusedDeks error
	// replaced is what refusedMembers was before the good ones took their place.
	replaced *opener.Error
	// removing are the identities whose removal this is.
	removing []id.Identity
	made     opener.KMSCalls
}

// begin opens the place's identity with both factors, and the keyring with it.
// removing are the identities that the change removes. The caller closes the ring.
func (j *job) begin(ctx context.Context, p opener.Place, pass opener.File, removing ...id.Identity) (*session, error) {
	o, err := j.openIdentity(ctx, p, factors{passphrase: pass}, replaceable)
	if err != nil {
		return nil, err
	}
	s := &session{opened: o, known: j.known(), removing: removing}
	s.made.Decrypt = o.calls.Operations
	// What the change makes replaces what the store has, were that refused or not.
	there := s.keyring
	there.MembersVersion, there.DeksVersion = o.members, o.deks
	if s.store, err = j.store(ctx, p); err == nil {
		err = s.load(there)
	}
	if err != nil {
		o.ring.Close()
		return nil, err
	}
	return s, nil
}

// load takes a keyring as the store has it. A deks that is refused must not
// keep an owner from removing who wrote it: the one that this device accepted
// last counts in its place, and what is made of it replaces the other.
func (s *session) load(there backend.Keyring) error {
	err := s.ring.Load(there.Members, there.Deks, s.known, keyring.Update{})
	if err != nil && s.known.Last != nil && aboutDeks(err) && s.mayReplace(there, err) && s.goesOn(there) {
		s.refusedDeks = err
		there.Deks = s.known.Last
		if s.ring.Load(there.Members, there.Deks, s.known, keyring.Update{}) == nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	s.keyring, s.known.Last = there, there.Deks
	return nil
}

// goesOn tells whether the chain can go on from the last good deks. A removal, or a
// change of keys, that this device hasn't seen names the one that was good: from an
// earlier one, what others saved since would be gone.
func (s *session) goesOn(there backend.Keyring) bool {
	members, err := keyring.ParseMembers(there.Members, s.ring.Vault())
	if err != nil {
		return false
	}
	last, err := keyring.ParseDeks(s.known.Last, s.ring.Vault())
	if err != nil {
		return false
	}
	seen := s.known.Members.Seq
	if m := s.ring.Members(); m != nil {
		seen = max(seen, m.Pin().Seq)
	}
	return !slices.ContainsFunc(members.Records(), func(r keyring.Record) bool {
		return r.Seq > seen && !r.Deks.IsZero() && r.Deks != last.Hash()
	})
}

// mayReplace tells whether a refused deks can be nobody's: by its stage, as it is
// written by who is removed, or as it's no identity's. A fork of somebody else's
// may hold what they saved.
func (s *session) mayReplace(there backend.Keyring, err error) bool {
	if replaceable(err) {
		return true
	}
	deks, err := keyring.ParseDeks(there.Deks, s.ring.Vault())
	if err != nil {
		return false // of a later version
	}
	members, err := keyring.ParseMembers(there.Members, s.ring.Vault())
	return err == nil && (slices.Contains(s.removing, deks.By()) || deks.CheckChain(members) != nil)
}

// aboutDeks tells whether err is about what deks holds.
func aboutDeks(err error) bool {
	var wrong *keyring.Error
	var history *keyring.HistoryError
	return errors.As(err, &wrong) && wrong.Object == keyring.ObjectDeks ||
		errors.As(err, &history) && history.Object == keyring.ObjectDeks || errors.Is(err, ring.ErrNoKEK)
}

// catchUp reads what others stored meanwhile.
func (s *session) catchUp(ctx context.Context) error {
	f, err := fetchNewer(ctx, s.store, s.keyring.MembersVersion, s.keyring.DeksVersion)
	if err != nil {
		return err
	}
	there := s.keyring
	if f.Members != nil {
		there.MembersVersion = f.MembersVersion
		members, err := keyring.ParseMembers(f.Members, s.ring.Vault())
		if err == nil {
			err = members.Extends(s.ring.Members().Pin())
		}
		switch {
		case err == nil:
			there.Members = f.Members
		case !replaceable(err):
			return err
		}
	}
	if f.Deks != nil {
		there.Deks, there.DeksVersion = f.Deks, f.DeksVersion
	}
	return s.load(there)
}

// put stores an object by compare-and-swap. Whatever error there is, what the
// store then has says whether it was written: an answer can get lost, and a
// request that is sent again for that looks like another writer's.
func (s *session) put(ctx context.Context, object backend.Object, data []byte) error {
	at, version := &s.keyring.Deks, &s.keyring.DeksVersion
	if object == backend.Members {
		at, version = &s.keyring.Members, &s.keyring.MembersVersion
	}
	stored, err := s.store.Put(ctx, object, data, *version)
	if err != nil {
		found, there, again := s.store.Get(ctx, object, "")
		if again != nil || !bytes.Equal(found, data) {
			return err
		}
		stored = there
	}
	*at, *version = data, stored
	if object == backend.Deks {
		s.refusedDeks = nil
	} else if s.refusedMembers != nil {
		s.replaced, s.refusedMembers = s.refusedMembers, nil
	}
	return nil
}

// amend makes a change to one object of the keyring and stores it; when another
// writer was first, again on top of that. A change that makes nothing has nothing
// to do, unless members stand in for what the store has: they take its place.
func (s *session) amend(ctx context.Context, object backend.Object, change func(*ring.Ring) ([]byte, error)) error {
	return backend.RetrySwap(func() error {
		data, err := change(s.ring)
		if err == nil && data == nil && object == backend.Members && s.refusedMembers != nil {
			data = s.keyring.Members
		}
		if err != nil || data == nil {
			return err
		}
		if err := s.put(ctx, object, data); err != nil {
			return err
		}
		return s.load(s.keyring)
	}, func() error { return s.catchUp(ctx) })
}

// finishRotation does the steps of a rotation that follow the new KEK (see
// package ring). Interrupted, it is gone on with by the next rotation.
func (s *session) finishRotation(ctx context.Context) error {
	if err := s.amend(ctx, backend.Deks, (*ring.Ring).Rewrap); err != nil {
		return fmt.Errorf("rewrap keys: %w", err)
	}
	if err := s.amend(ctx, backend.Members, (*ring.Ring).Retire); err != nil {
		return fmt.Errorf("retire KEKs: %w", err)
	}
	return nil
}

// changed is the reply of a job that has made its change. unfinished is why the
// rotation that belongs to it isn't done.
func (s *session) changed(unfinished error) *opener.Changed {
	c := &opener.Changed{Keyring: s.keyring, KEK: s.ring.Deks().KEK(), Calls: s.made, Replaced: s.replaced}
	// What the store has and is refused is looked at again, and shown.
	if s.refusedDeks != nil {
		c.Keyring.DeksVersion = ""
	}
	if s.refusedMembers != nil {
		c.Keyring.MembersVersion = ""
	}
	if unfinished != nil {
		c.Unfinished = sorted(unfinished)
	}
	return c
}
