package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
)

// answerSecret reads a message that may carry a secret, or is unknown, from the
// socket into guarded memory, and answers it. Nothing here looks into the body.
func (s *session) answerSecret(ctx context.Context, number byte, size int) error {
	select {
	case s.agent.bodies <- struct{}{}:
		defer func() { <-s.agent.bodies }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var body *guard.Buffer
	if size > 0 {
		var err error
		if body, err = s.agent.o.Bodies.Alloc(size); err != nil {
			// There is no place for the body, so it stays in the socket.
			_ = s.send(s.refuse(nil, requestName(number), nil, err))
			return fmt.Errorf("receive message %d: %w", number, err)
		}
		defer body.Free()
		if err := s.receiveBy(); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.conn, body.Bytes()); err != nil {
			return fmt.Errorf("read message %d: %w", number, noEOF(err))
		}
		if err := s.receiveAtLeisure(); err != nil {
			return err
		}
	}
	id, err := s.handleSecret(ctx, number, body)
	body.Free()
	if err != nil {
		return s.send(s.refuse(nil, requestName(number), id, err))
	}
	return s.send(agentproto.AppendStatus(nil, agentproto.MsgSuccess))
}

// requestName names a request in refusals.
func requestName(number byte) string {
	switch number {
	case agentproto.MsgAddIdentity, agentproto.MsgAddIDConstrained:
		return "add"
	case agentproto.MsgLock:
		return "lock"
	case agentproto.MsgUnlock:
		return "unlock"
	case agentproto.MsgAddToken, agentproto.MsgAddTokenConstrained, agentproto.MsgRemoveToken:
		return "token"
	}
	return "message"
}

// handleSecret answers a request with a secret: nil is success. The identity, if
// any, is the one a refusal is about.
func (s *session) handleSecret(ctx context.Context, number byte, body *guard.Buffer) (*identity, error) {
	switch number {
	case agentproto.MsgAddIdentity:
		return s.add(ctx, body, false)
	case agentproto.MsgAddIDConstrained:
		return s.add(ctx, body, true)
	case agentproto.MsgLock:
		return nil, s.agent.lock(ctx, body)
	case agentproto.MsgUnlock:
		return nil, s.agent.unlock(ctx, body)
	case agentproto.MsgAddToken, agentproto.MsgAddTokenConstrained, agentproto.MsgRemoveToken:
		return nil, errors.New("keys on PKCS#11 tokens are not supported")
	}
	return nil, fmt.Errorf("message number %d is not supported", number)
}

// errNoPassphrase refuses to lock or unlock with nothing.
var errNoPassphrase = errors.New("the passphrase is empty")

// hasPassphrase tells from the length alone whether the body of a LOCK or UNLOCK
// can have a passphrase in it: more than its length field.
func hasPassphrase(body *guard.Buffer) bool { return body != nil && body.Len() > 4 }

// lock hides all keys until unlock is called with the same passphrase (ssh-add -x).
func (a *Agent) lock(ctx context.Context, body *guard.Buffer) error {
	if !hasPassphrase(body) {
		return errNoPassphrase
	}
	if err := a.changing.take(ctx); err != nil {
		return err
	}
	defer a.changing.give()
	if a.Locked() {
		return errLocked
	}
	if err := a.o.Keeper.Lock(ctx, body); err != nil {
		return err
	}
	a.setLocked(true)
	return nil
}

// unlock undoes lock (ssh-add -X). Each failure in a row delays the answer, and
// every other attempt meanwhile, by UnlockDelay more.
func (a *Agent) unlock(ctx context.Context, body *guard.Buffer) error {
	if !a.Locked() {
		return errors.New("the agent is not locked")
	}
	if !hasPassphrase(body) {
		return errNoPassphrase
	}
	if err := a.guessing.take(ctx); err != nil {
		return err
	}
	defer a.guessing.give()
	if !a.Locked() {
		return errors.New("the agent is not locked")
	}
	err := a.o.Keeper.Unlock(ctx, body)
	body.Free() // not held through the delay
	if err == nil {
		a.failures = 0
		a.setLocked(false)
		return nil
	}
	a.failures++
	delay := time.NewTimer(min(time.Duration(a.failures)*UnlockDelay, MaxUnlockDelay))
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-a.ctx.Done():
	case <-ctx.Done(): // the daemon stops; a peer that hangs up doesn't end it
	}
	return err
}

func (a *Agent) setLocked(locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.locked = locked
	a.publish()
}
