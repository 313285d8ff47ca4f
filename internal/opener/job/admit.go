package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"vigil/internal/backend"
	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master/local"
	"vigil/internal/opener"
	"vigil/internal/ring"
)

// requestIdentity makes the key pairs and the unlock block of an identity that requests
// admission. It needs no keyring, and stores nothing except a local master's key.
func (j *job) requestIdentity(ctx context.Context, req *opener.RequestIdentity) (*opener.RequestedIdentity, error) {
	key, err := j.masterKey(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	if l, ok := key.(*local.Key); ok {
		if err := l.Create(); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	seeds, err := j.slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return nil, err
	}
	defer seeds.Free()
	halves, err := envelope.GenerateHalves(id.NewIdentity(), seeds.Bytes())
	if err != nil {
		return nil, err
	}
	public, err := halves.Public()
	if err != nil {
		return nil, err
	}
	block, err := j.sealIdentity(ctx, &opener.Create{
		Place: req.Place, Passphrase: req.Passphrase, MemoryKiB: req.MemoryKiB, Time: req.Time, Lanes: req.Lanes,
	}, key, halves, req.Place.Vault)
	if err != nil {
		return nil, err
	}
	request := keyring.Request{Vault: req.Place.Vault, Name: req.Name, Public: public, Block: block}
	text, err := request.Sign(halves)
	if err != nil {
		return nil, err
	}
	return &opener.RequestedIdentity{Identity: halves.Identity(), Text: text, Calls: key.Calls()}, nil
}

// admit admits an identity in one write: its records, and every live KEK sealed to it.
func (j *job) admit(ctx context.Context, req *opener.Admit) (*opener.Changed, error) {
	request, err := keyring.ParseRequest(req.Text, req.Place.Vault)
	if err != nil {
		return nil, &opener.Error{Kind: opener.BadInput, Message: err.Error(), Next: "Nothing was changed. Have the complete request sent again."}
	}
	s, err := j.begin(ctx, req.Place, req.Passphrase)
	if err != nil {
		return nil, err
	}
	defer s.ring.Close()
	if err := s.owner(); err != nil {
		return nil, err
	}
	who := keyring.Identity{ID: request.Identity(), Role: req.Role, Public: request.Public}
	already := false
	err = s.amend(ctx, backend.Members, func(r *ring.Ring) ([]byte, error) {
		there, ok := r.Members().Identity(who.ID)
		switch {
		case ok && there.Public == who.Public:
			already = true // by an interrupted job or another owner
			return nil, nil
		case ok || r.Members().Removed(who.ID):
			return nil, &opener.Error{
				Kind: opener.Exists, Message: fmt.Sprintf("identity %v is, or was, in the vault already", who.ID),
				Next: "Nothing was changed. Have the other device make a new request.",
			}
		}
		return r.Admit(who, request.Block)
	})
	if err != nil {
		return nil, err
	}
	c := s.changed(nil)
	c.Already = already
	return c, nil
}

// removeIdentities removes identities, makes a new KEK, and wraps every DEK by it.
func (j *job) removeIdentities(ctx context.Context, req *opener.RemoveIdentities) (*opener.Changed, error) {
	s, err := j.begin(ctx, req.Place, req.Passphrase, req.Identities...)
	if err != nil {
		return nil, err
	}
	defer s.ring.Close()
	if err := s.owner(); err != nil {
		return nil, err
	}
	if slices.Contains(req.Identities, s.identity) {
		return nil, &opener.Error{
			Kind: opener.BadInput, Message: "an identity can't remove itself",
			Next: "Nothing was changed. Another owner can remove this one.",
		}
	}
	// Others may have written while the identity was opened. The record names the
	// last good deks: what a removed identity writes after it is lost.
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	already := false
	err = s.amend(ctx, backend.Members, func(r *ring.Ring) ([]byte, error) {
		var there []id.Identity
		for _, identity := range req.Identities {
			if _, ok := r.Members().Identity(identity); ok {
				there = append(there, identity)
			} else if !r.Members().Removed(identity) {
				return nil, &opener.Error{
					Kind: opener.NoSuchIdentity, Message: fmt.Sprintf("identity %v is not in the vault", identity),
					Next: "Nothing was changed. `vigilctl identity list` shows who is.",
				}
			}
		}
		if len(there) > 0 {
			return r.RemoveIdentities(there...)
		}
		already = true
		if r.Members().RotationDue() { // removed without a new KEK
			return r.NewKEK()
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	c := s.changed(s.finishRotation(ctx))
	c.Already = already
	return c, nil
}

// owner returns an error if the identity isn't an owner.
func (s *change) owner() error {
	me, ok := s.ring.Members().Identity(s.identity)
	if ok && me.Role == keyring.Owner {
		return nil
	}
	return &opener.Error{
		Kind: opener.NotOwner, Message: fmt.Sprintf("identity %v is a member of the vault, not an owner", s.identity),
		Next: "Nothing was changed. An owner of the vault can do it.",
	}
}
