package sshagent

import (
	"slices"
	"sync"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
)

// snapshot is the agent's state at one moment. It is immutable except for the
// listing, which is built when it is first needed.
type snapshot struct {
	made       time.Time
	locked     bool
	ids        []*identity          // in listing order: added keys, then vaults, uncommon types last; every blob once
	byBlob     map[string]*identity // keyed by the blob of the key or certificate; also overdue ones, which aren't in ids
	restricted bool                 // a key has destinations, so not all connections see the same

	// When the first key and the first listed certificate of a vault expire; zero: never.
	expires     time.Duration
	certExpires time.Time

	once    sync.Once
	listing []byte
}

// publish makes a snapshot of the state current and sets the timer for its
// first expiry. The caller holds mu, or is New.
func (a *Agent) publish() {
	n := len(a.added)
	for _, ids := range a.vaults {
		n += len(ids)
	}
	s := &snapshot{made: time.Now(), locked: a.locked, ids: make([]*identity, 0, n), byBlob: make(map[string]*identity, n)}
	for _, id := range a.added {
		s.add(id)
	}
	for _, vault := range a.order {
		for _, id := range a.vaults[vault] {
			s.add(id)
		}
	}
	s.ids = policy.CommonFirst(s.ids, func(id **identity) string { return (*id).key.Type })
	a.current.Store(s)
	a.endQuestions(s)
	a.grants.keep(s)
	a.setTimer(s)
}

// add appends an identity unless s has one with its blob: a key added by ssh-add
// shadows a vault's key.
func (s *snapshot) add(id *identity) {
	if len(id.key.Blob) == 0 {
		return
	}
	if _, ok := s.byBlob[string(id.key.Blob)]; ok {
		return
	}
	s.byBlob[string(id.key.Blob)] = id
	if id.overdue(s.made) {
		return
	}
	s.ids = append(s.ids, id)
	s.restricted = s.restricted || len(id.to) > 0
	if id.expires != 0 && (s.expires == 0 || id.expires < s.expires) {
		s.expires = id.expires
	}
	if !id.certExpires.IsZero() && (s.certExpires.IsZero() || id.certExpires.Before(s.certExpires)) {
		s.certExpires = id.certExpires
	}
}

// setTimer arms the timer for the first expiry in s. If that is far away, the timer
// fires early, because timers stop during sleep.
func (a *Agent) setTimer(s *snapshot) {
	if a.closed {
		return
	}
	wait := sweepInterval
	if s.expires != 0 {
		wait = min(wait, s.expires-a.o.BootTime())
	}
	if !s.certExpires.IsZero() {
		wait = min(wait, time.Until(s.certExpires))
	}
	if s.expires == 0 && s.certExpires.IsZero() {
		a.timer.Stop()
		return
	}
	a.timer.Reset(max(wait, 0))
}

// fresh returns the current snapshot, without expired keys.
func (a *Agent) fresh() *snapshot {
	s := a.current.Load()
	if s.expires != 0 && a.o.BootTime() >= s.expires || !s.certExpires.IsZero() && !time.Now().Before(s.certExpires) {
		a.sweep()
		s = a.current.Load()
	}
	return s
}

func (a *Agent) expired(id *identity) bool {
	return id.expires != 0 && a.o.BootTime() >= id.expires
}

func (a *Agent) sweepOnTimer() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.work.Add(1)
	a.mu.Unlock()
	defer a.work.Done()
	a.sweep()
}

// sweep removes expired keys, first here and then from the keeper.
func (a *Agent) sweep() {
	var gone []*identity
	a.mu.Lock()
	a.added = slices.DeleteFunc(slices.Clone(a.added), func(id *identity) bool {
		if a.expired(id) {
			gone = append(gone, id)
			return true
		}
		return false
	})
	a.publish()
	a.mu.Unlock()
	for _, id := range gone {
		if err := a.o.Keeper.Remove(a.ctx, id.handle); err != nil {
			a.o.Log.Error("an expired key could not be removed from its keeper", "key", id.fingerprint, "error", err)
		}
	}
}

// frame returns the listing for connections that see every key. It is built once
// per snapshot; the caller must not change it.
func (a *Agent) frame(s *snapshot) []byte {
	s.once.Do(func() {
		var l agentproto.Listing
		omitted := 0
		for _, id := range s.ids {
			if !l.Add(id.key.Blob, id.comment) {
				omitted++
			}
		}
		if omitted > 0 {
			a.o.Log.Warn("keys were left out of the listing, which clients accept no longer",
				"left_out", omitted, "keys_at_most", agentproto.MaxIdentities, "bytes_at_most", agentproto.MaxMessage)
		}
		s.listing = l.Frame()
	})
	return s.listing
}

// frameFor returns the listing of the keys that are visible on a path.
func (a *Agent) frameFor(s *snapshot, path *policy.Path) []byte {
	if !s.restricted || len(path.Bindings) == 0 && !path.Tried {
		return a.frame(s)
	}
	var l agentproto.Listing
	now := time.Now()
	for _, id := range s.ids {
		if policy.Visible(id.to, path, now) == nil {
			l.Add(id.key.Blob, id.comment)
		}
	}
	return l.Frame()
}

// emptyFrame returns the listing of a locked agent.
func emptyFrame() []byte {
	var l agentproto.Listing
	return l.Frame()
}
