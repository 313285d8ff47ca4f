package sshagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

// inSecurityKey reports whether the key's private half is in a security key.
func (id *identity) inSecurityKey() bool { return strings.HasPrefix(id.key.Type, "sk-") }

// application returns what the key was made for: the last field of its public key.
func (id *identity) application() (last string) {
	for r := wire.NewReader(id.key.Plain); r.Len() > 0 && r.Err() == nil; {
		last = string(r.String())
	}
	return last
}

var (
	errWebKey  = errors.New("the security key's key is for web sites, and what it is to sign isn't of SSH")
	errNoTouch = errors.New("security keys can't be used here")
)

// signByTouch has the security key sign that has id's private half, and appends the
// signature. It waits for a touch until the client goes away or id can no longer be used.
// One signature waits at a time, and meanwhile delays none with another key.
func (s *session) signByTouch(ctx context.Context, id *identity, q agentproto.SignRequest, dst []byte) (out []byte, err error) {
	a := s.agent
	keys := a.o.SecurityKeys
	if keys == nil {
		return nil, errNoTouch
	}
	// A key that web sites trust must not sign what one of them might accept. (OpenSSH:
	// check_websafe_message_contents.)
	if !strings.HasPrefix(id.application(), "ssh:") {
		_, login := agentproto.ParseUserauth(q.Data)
		if _, sig := agentproto.ParseSSHSig(q.Data); !login && !sig {
			return nil, errWebKey
		}
	}
	provider := id.provider
	if provider == "" {
		if provider, err = keys.Provider("", false); err != nil {
			return nil, &advised{err.Error(), keys.Next(err)}
		}
	}
	text := fmt.Sprintf("the security key of %.*s.\nKey fingerprint %s.", maxAsked, pubkey.CleanComment(id.comment), id.fingerprint)
	use := policy.Classify(&id.key, &s.path, q.Data)
	if what := use.String(); what != "" {
		text += "\nFor: " + what
	}
	ctx, done := a.whileUsable(ctx, id)
	defer done()
	err = s.whileConnected(ctx, func(ctx context.Context) error {
		if err := a.touching.take(ctx, s.peer.PID); err != nil {
			return err
		}
		defer a.touching.give()
		through := func(helper, pin *os.File) (err error) {
			out, err = id.signer.SignThrough(ctx, id.handle, q.Data, provider, helper, pin, dst)
			return err
		}
		err := keys.Run(ctx, "Touch "+text, func(helper *os.File) error { return through(helper, nil) })
		if errors.Is(err, ErrPIN) { // some devices know the person, so only now (OpenSSH: process_sign_request2)
			if err := a.asking.take(ctx, s.peer.PID); err != nil {
				return err
			}
			defer a.asking.give()
			err = keys.RunWithPIN(ctx, "Enter the PIN of, and touch, "+text, through)
		}
		if ctx.Err() != nil { // a signature that came too late is none
			return context.Cause(ctx)
		}
		return err
	})
	if next := keys.Next(err); next != "" {
		return nil, &advised{err.Error(), next}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}
