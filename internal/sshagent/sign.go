package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
)

// Reasons for refusing a signature.
var (
	errNoSuchKey = errors.New("the agent does not have the key")
	errFlags     = errors.New("the request has signature flags that are not supported")
	errChanged   = errors.New("the key was changed or removed while someone was asked")
	errLost      = errors.New("the key was removed, or its vault was locked, before it had signed")
	errNoReply   = errors.New("the keeper gave no usable signature")

	errUnknownUse = Advised("the request came through a forwarded agent, and what is to be signed is neither a login nor a signature of a file nor a certificate",
		"If every host that the agent is forwarded to may have the key sign anything: `vigilctl edit KEY --approve never`.")
)

// sign answers a SIGN_REQUEST. (OpenSSH: process_sign_request2.)
func (s *session) sign(ctx context.Context, body, out []byte) []byte {
	q, err := agentproto.ParseSign(body)
	if err != nil {
		return s.refuse(out, "sign", nil, err)
	}
	refuse := func(id *identity, reason error) []byte {
		if id == nil {
			id = newIdentity(q.Key)
		}
		use := policy.Classify(&id.key, &s.path, q.Data)
		s.note(Refusal{Request: "sign", Purpose: use.String()}, id, reason)
		return decline(out)
	}
	if q.Flags&^agentproto.KnownFlags != 0 {
		return refuse(nil, errFlags)
	}
	id, err := s.lookup(q.Key)
	if err == nil {
		id, err = s.permit(ctx, id, q)
	}
	if err != nil {
		return refuse(id, err)
	}
	frame, err := s.signWith(ctx, id, q, out)
	if errors.Is(err, ErrNoKey) {
		// The key may have been added again in the meantime, with a new handle.
		again, found := s.lookup(q.Key)
		if found == nil && again.handle != id.handle && sameUse(again, id) {
			frame, err = s.signWith(ctx, again, q, out)
		}
	}
	if errors.Is(err, ErrNoKey) {
		err = errLost
	}
	if err != nil {
		return refuse(id, err)
	}
	return frame
}

// lookup finds the key of a request. It may return the identity with an error too, to
// note in the refusal.
func (s *session) lookup(blob []byte) (*identity, error) {
	snap := s.agent.fresh()
	if snap.locked {
		return nil, errLocked
	}
	id := snap.byBlob[string(blob)]
	switch {
	case id == nil:
		return nil, errNoSuchKey
	case id.overdue(time.Now()):
		return id, &advised{
			"the key's certificate expired at " + id.key.Cert.Ends().Format(time.DateTime),
			"Have it renewed, then give it to `vigilctl edit KEY --certificate FILE`. The key signs without it.",
		}
	}
	return id, nil
}

// permit decides whether r may be answered with id on this connection: it checks the
// destinations and the hash, has a locked vault unlocked, and asks the user if need be. It
// returns the identity to sign with, which after an unlock is another one.
func (s *session) permit(ctx context.Context, id *identity, r agentproto.SignRequest) (*identity, error) {
	use := policy.Classify(&id.key, &s.path, r.Data)
	var err error
	if use.HostName, err = policy.MaySign(id.to, &s.path, &use, time.Now()); err != nil {
		return id, err
	}
	verdict := id.approve.Judge(&use, s.path.Forwarded())
	switch {
	case verdict == policy.Refuse:
		return id, errUnknownUse
	case id.signer != nil && !id.sha1 && id.wantsSHA1(r.Flags):
		return id, id.refuseSHA1()
	case id.signer != nil && !id.confirm && verdict == policy.Permit:
		return id, nil
	case id.refusal != "":
		return id, errors.New(id.refusal)
	}
	q := s.question(id, &use, len(r.Data))
	if id.signer == nil {
		if len(r.Data) > maxAskedData {
			return id, lockedVault(id.vault, fmt.Sprintf(", and nobody is asked for a request of %d bytes", len(r.Data)))
		}
		open, err := s.unlockVault(ctx, id, q)
		if err != nil {
			return id, err
		}
		return s.permit(ctx, open, r) // its restrictions may only be known now
	}
	if err := s.approve(ctx, id, &use, q); err != nil {
		return id, err
	}
	// The answer took time: what the question said must still hold.
	still, err := s.lookup(id.key.Blob)
	if err != nil || still.signer == nil || !sameUse(still, id) {
		return id, errChanged
	}
	return still, nil
}

const typeRSA = "ssh-rsa"

// wantsSHA1 reports whether a request with these flags asks for SHA-1: RSA without any.
func (id *identity) wantsSHA1(flags uint32) bool { return flags == 0 && id.key.Type == typeRSA }

// refuseSHA1 says how a client that asks for SHA-1 can be served.
func (id *identity) refuseSHA1() error {
	allow := "`vigilctl edit KEY --allow-sha1` allows"
	if id.vault == "" {
		allow = "`added_sha1 = true` in config.toml and a restart of vigild allow"
	}
	return &advised{
		"the client asks for an RSA signature with SHA-1 (ssh-rsa), which can be forged",
		"Use an Ed25519 or ECDSA key with this client, or a newer release of it. If neither is possible, " + allow + " SHA-1.",
	}
}

// lockedVault is the reason why a vault's key doesn't sign now.
func lockedVault(name, more string) error {
	return &advised{"vault " + name + " is locked" + more, "Unlock it: vigilctl unlock --vault " + name}
}

// unlockVault has id's vault unlocked, and returns the key's new identity.
func (s *session) unlockVault(ctx context.Context, id *identity, q Question) (*identity, error) {
	if s.agent.o.Unlocker == nil {
		return nil, lockedVault(id.vault, "")
	}
	err := s.whileConnected(ctx, func(ctx context.Context) error {
		return s.agent.o.Unlocker.Unlock(ctx, id.vault, q)
	})
	if err != nil {
		return nil, err
	}
	open, err := s.lookup(id.key.Blob)
	switch {
	case err != nil:
		return nil, err
	case open.signer == nil && open.refusal != "":
		return nil, errors.New(open.refusal)
	case open.signer == nil:
		return nil, fmt.Errorf("vault %s is still locked", id.vault)
	}
	return open, nil
}

// sameUse reports whether a permission for one identity holds for another with
// the same blob.
func sameUse(a, b *identity) bool {
	if a == b {
		return true
	}
	return a.vault == b.vault && a.confirm == b.confirm && a.approve == b.approve && a.sha1 == b.sha1 && a.provider == b.provider &&
		bytes.Equal(agentproto.AppendDestinations(nil, a.to), agentproto.AppendDestinations(nil, b.to))
}

// signWith builds the whole reply in out: header, signature, lengths.
func (s *session) signWith(ctx context.Context, id *identity, q agentproto.SignRequest, out []byte) ([]byte, error) {
	if id.signer == nil {
		return nil, lockedVault(id.vault, "")
	}
	flags := q.Flags
	if id.sha1 && id.wantsSHA1(flags) {
		flags = agentproto.FlagRSASHA1
	}
	frame := agentproto.AppendSignReplyHeader(out[:0])
	var err error
	if id.inSecurityKey() {
		frame, err = s.signByTouch(ctx, id, q, frame)
	} else if err = id.signing.take(ctx, s.peer.PID); err == nil {
		frame, err = id.signer.Sign(ctx, id.handle, q.Data, flags, frame)
		id.signing.give()
	}
	if err != nil {
		return nil, err
	}
	if len(frame) <= agentproto.SignReplyHeader || len(frame)-4 > agentproto.MaxMessage {
		return nil, errNoReply
	}
	agentproto.FinishSignReply(frame)
	return frame, nil
}
