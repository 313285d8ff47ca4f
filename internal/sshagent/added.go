package sshagent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/policy"
)

// add hands the key in body to the keeper, and publishes it. A key that the agent
// already has keeps its place; its handle, comment and constraints are replaced.
// (OpenSSH: process_add_identity.)
func (s *session) add(ctx context.Context, body *guard.Buffer, constrained bool) (*identity, error) {
	a := s.agent
	if a.Locked() {
		return nil, errLocked
	}
	if body == nil {
		return nil, errors.New("the message has no key")
	}
	if err := a.changing.take(ctx, s.peer.PID); err != nil {
		return nil, err
	}
	defer a.changing.give()
	epoch := a.keeperEpoch()
	added, err := a.o.Keeper.Add(ctx, body, constrained)
	if err != nil {
		return nil, err
	}
	id, err := a.newAdded(added, &s.path)
	if err == nil {
		var old *identity
		if old, err = a.replaceAdded(id, &s.path, epoch); err == nil {
			if old != nil {
				a.dropFromKeeper(old)
			}
			return nil, nil
		}
	}
	a.dropFromKeeper(id)
	return id, err
}

// newAdded makes an identity from what the keeper found in the message. It returns
// the identity with an error too, to note in the refusal.
func (a *Agent) newAdded(k Added, path *policy.Path) (*identity, error) {
	id := newIdentity(slices.Clone(k.Blob))
	id.comment, id.handle, id.signer, id.signing = k.Comment, k.Key, a.o.Keeper, a.addedSigning
	c := k.Constraints
	id.to, id.confirm, id.approve, id.sha1 = agentproto.CloneDestinations(c.To), c.Confirm, policy.ApproveNever, a.o.AddedSHA1
	id.toBytes = len(agentproto.AppendDestinations(nil, c.To))
	life := a.o.DefaultLifetime
	if c.HasLifetime {
		life = time.Duration(c.Lifetime) * time.Second
	}
	if life != 0 || c.HasLifetime {
		id.expires = max(a.o.BootTime()+life, 1)
	}
	if c.Provider != "" && !id.inSecurityKey() {
		return id, errors.New("a provider of security keys was named for a key that isn't in one")
	}
	if id.inSecurityKey() && a.o.SecurityKeys != nil {
		var err error
		if id.provider, err = a.o.SecurityKeys.Provider(c.Provider, len(path.Bindings) > 0 || path.Tried); err != nil {
			return id, &advised{err.Error(), a.o.SecurityKeys.Next(err)}
		}
	}
	if len(k.Comment) > agentproto.MaxComment {
		return id, fmt.Errorf("the comment is longer than %d bytes", agentproto.MaxComment)
	}
	return id, policy.CheckDestinations(id.to)
}

// replaceAdded publishes id, in place of the key with the same blob if there is
// one, and returns that key. A client on path can't replace a key that it can't
// see. epoch was read before the keeper was asked to hold the key.
func (a *Agent) replaceAdded(id *identity, path *policy.Path, epoch int) (old *identity, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.locked:
		return nil, errLocked
	case epoch != a.epoch:
		return nil, errors.New("the keeper ended while the key was being added")
	}
	added := slices.Clone(a.added)
	i := slices.IndexFunc(added, func(o *identity) bool { return string(o.key.Blob) == string(id.key.Blob) })
	if i >= 0 {
		old = added[i]
	}
	switch {
	case addedBytes(added)-old.bytes()+id.bytes() > MaxAddedBytes:
		return nil, fmt.Errorf("the added keys' comments, destinations and certificates would have more than %d bytes", MaxAddedBytes)
	case old != nil:
		if err := policy.Visible(old.to, path, time.Now()); err != nil {
			return nil, err
		}
		added[i] = id
	case len(added) == MaxAdded:
		return nil, fmt.Errorf("the agent has %d added keys, the most it takes", MaxAdded)
	default:
		added = append(added, id)
	}
	a.added = added
	a.publish()
	return old, nil
}

func addedBytes(ids []*identity) (n int) {
	for _, id := range ids {
		n += id.bytes()
	}
	return n
}

// bytes returns roughly how many bytes of client-chosen data an identity keeps. It
// is 0 for nil.
func (id *identity) bytes() int {
	if id == nil {
		return 0
	}
	return len(id.key.Blob) + len(id.comment) + id.toBytes
}

func (a *Agent) keeperEpoch() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

// dropFromKeeper removes a key from the keeper that the agent no longer lists.
func (a *Agent) dropFromKeeper(id *identity) {
	if err := a.o.Keeper.Remove(a.ctx, id.handle); err != nil {
		a.o.Log.Error("a key could not be removed from its keeper", "key", id.fingerprint, "error", err)
	}
}

// remove removes one added key (ssh-add -d). It refuses to remove a vault's key.
func (s *session) remove(ctx context.Context, body, out []byte) []byte {
	a := s.agent
	blob, err := agentproto.ParseRemove(body)
	if err != nil {
		return s.refuse(out, "remove", nil, err)
	}
	if err := a.changing.take(ctx, s.peer.PID); err != nil {
		return s.refuse(out, "remove", nil, err)
	}
	defer a.changing.give()
	snap := a.fresh()
	id := snap.byBlob[string(blob)]
	switch {
	case snap.locked:
		return s.refuse(out, "remove", nil, errLocked)
	case id == nil:
		return s.refuse(out, "remove", nil, errNoSuchKey)
	}
	if err := policy.Visible(id.to, &s.path, time.Now()); err != nil {
		return s.refuse(out, "remove", id, err)
	}
	if id.vault != "" {
		return s.refuse(out, "remove", id,
			fmt.Errorf("the key is in vault %s, which ssh-add does not change: use vigilctl rm", id.vault))
	}
	a.mu.Lock()
	a.added = slices.DeleteFunc(slices.Clone(a.added), func(o *identity) bool { return o == id })
	a.publish()
	a.mu.Unlock()
	if err := a.o.Keeper.Remove(ctx, id.handle); err != nil {
		return s.refuse(out, "remove", id, err)
	}
	return agentproto.AppendStatus(out, agentproto.MsgSuccess)
}

// removeAll removes all added keys (ssh-add -D), even those hidden from this
// connection, as OpenSSH does. The vaults' keys stay.
func (s *session) removeAll(ctx context.Context, body, out []byte) []byte {
	if err := agentproto.ParseEmpty(body); err != nil {
		return s.refuse(out, "remove all", nil, err)
	}
	if s.agent.Locked() {
		return s.refuse(out, "remove all", nil, errLocked)
	}
	if err := s.agent.DropAdded(ctx); err != nil {
		return s.refuse(out, "remove all", nil, err)
	}
	return agentproto.AppendStatus(out, agentproto.MsgSuccess)
}
