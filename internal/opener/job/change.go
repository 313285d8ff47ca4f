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

// change is one change of the keyring by an identity whose passphrase was given
// again: the opened identity and the keyring's store.
type change struct {
	*opened
	store backend.Store
	known keyring.Known
	// refusedDeks is why the store's deks was refused; nil: it wasn't. keyring then
	// has the last accepted deks with the version of the store's.
	refusedDeks error
	// replaced is refusedMembers after good members have replaced the refused ones.
	replaced *opener.Error
	removing []id.Identity // the identities that this change removes
	made     opener.KMSCalls
}

// begin opens the place's identity with both factors, and its keyring. removing are
// the identities that the change removes. The caller closes the ring.
func (j *job) begin(ctx context.Context, p opener.Place, pass opener.File, removing ...id.Identity) (*change, error) {
	o, err := j.openIdentity(ctx, p, factors{passphrase: pass}, replaceable)
	if err != nil {
		return nil, err
	}
	s := &change{opened: o, known: j.known(), removing: removing}
	s.made.Decrypt = o.calls.Operations
	// The change replaces what the store has, even if that was refused.
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

// load loads the store's keyring. A refused deks must not keep an owner from removing
// its author: load then uses the last deks that this device accepted, and the change
// replaces the refused one.
func (s *change) load(there backend.Keyring) error {
	err := s.ring.Load(there.Members, there.Deks, s.known, keyring.Update{})
	if err != nil && s.known.Last != nil && aboutDeks(err) && s.lastReplaces(there, err) {
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

// lastReplaces reports whether replacing the store's deks, which was refused, by the
// last accepted one can't lose changes.
func (s *change) lastReplaces(there backend.Keyring, refused error) bool {
	members, err := keyring.ParseMembers(there.Members, s.ring.Vault())
	if err != nil {
		return false
	}
	last, err := keyring.ParseDeks(s.known.Last, s.ring.Vault())
	return err == nil && s.continues(members, last) && (replaceable(refused) || s.nobodys(there.Deks, members))
}

// continues reports whether the change can start from last. A removal or change of
// keys that this device hasn't seen names the deks that was good. If that is another,
// starting here would lose later changes.
func (s *change) continues(members *keyring.Members, last *keyring.Deks) bool {
	seen := s.known.Members.Seq
	if m := s.ring.Members(); m != nil {
		seen = max(seen, m.Pin().Seq)
	}
	return !slices.ContainsFunc(members.Records(), func(r keyring.Record) bool {
		return r.Seq > seen && !r.Deks.IsZero() && r.Deks != last.Hash()
	})
}

// nobodys reports whether a deks that some device may be using was written by an
// identity being removed, or by none. A fork by another identity may hold changes.
func (s *change) nobodys(object []byte, members *keyring.Members) bool {
	deks, err := keyring.ParseDeks(object, s.ring.Vault())
	return err == nil && (slices.Contains(s.removing, deks.By()) || deks.CheckChain(members) != nil)
}

// aboutDeks reports whether err is about the content of deks.
func aboutDeks(err error) bool {
	var wrong *keyring.Error
	var history *keyring.HistoryError
	return errors.As(err, &wrong) && wrong.Object == keyring.ObjectDeks ||
		errors.As(err, &history) && history.Object == keyring.ObjectDeks || errors.Is(err, ring.ErrNoKEK)
}

// catchUp loads what others have stored meanwhile.
func (s *change) catchUp(ctx context.Context) error {
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

// put stores an object by compare-and-swap. After an error, it reads the store to see
// whether the object was written: if a reply is lost, the retry looks like another
// writer's conflict.
func (s *change) put(ctx context.Context, object backend.Object, data []byte) error {
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

// amend makes a change to one object of the keyring and stores it; after another
// writer's change, it retries on top of that. If there is nothing to change, it
// stores only members that replace refused ones.
func (s *change) amend(ctx context.Context, object backend.Object, makeIt func(*ring.Ring) ([]byte, error)) error {
	return backend.RetrySwap(func() error {
		data, err := makeIt(s.ring)
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

// finishRotation does the steps of a rotation that follow the new KEK (see package
// ring). After an interruption, the next rotation continues it.
func (s *change) finishRotation(ctx context.Context) error {
	if err := s.amend(ctx, backend.Deks, (*ring.Ring).Rewrap); err != nil {
		return fmt.Errorf("rewrap keys: %w", err)
	}
	if err := s.amend(ctx, backend.Members, (*ring.Ring).Retire); err != nil {
		return fmt.Errorf("retire KEKs: %w", err)
	}
	return nil
}

// changed returns the result of a completed change. unfinished is why its rotation
// isn't complete.
func (s *change) changed(unfinished error) *opener.Changed {
	c := &opener.Changed{Keyring: s.keyring, KEK: s.ring.Deks().KEK(), Calls: s.made, Replaced: s.replaced}
	// A refused deks that is still in the store is checked once more, to report it.
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
