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
// socket into guarded memory, and answers it. It doesn't look into the body.
func (s *session) answerSecret(ctx context.Context, number byte, size int) error {
	defer s.agent.secret.end(&s.arrival)
	body, err := s.readSecret(ctx, size)
	if errors.Is(err, errNoMemory) {
		// There is no memory for the body, so it stays in the socket.
		_ = s.send(s.refuse(nil, requestName(number), nil, err))
	}
	if err != nil {
		return fmt.Errorf("receive message %d: %w", number, err)
	}
	defer body.Free()
	id, err := s.handleSecret(ctx, number, body)
	body.Free()
	if err != nil {
		return s.send(s.refuse(nil, requestName(number), id, err))
	}
	return s.send(agentproto.AppendStatus(nil, agentproto.MsgSuccess))
}

// errNoMemory reports that no guarded memory is available.
var errNoMemory = errors.New("no guarded memory for the message")

// readSecret reads a body of size bytes into guarded memory, which the caller
// frees. It allocates memory only as bytes arrive. An empty body is nil.
func (s *session) readSecret(ctx context.Context, size int) (body *guard.Buffer, err error) {
	if size == 0 {
		return nil, nil
	}
	defer func() {
		if err != nil {
			body.Free()
		}
	}()
	if err := s.receiveBy(); err != nil {
		return nil, err
	}
	in := s.agent.secret
	s.arrival.begin()
	for have := 0; have < size; {
		next := min(max(2*have, secretChunk), size)
		if err := in.grow(ctx, &s.arrival, next-have); err != nil {
			return body, err
		}
		bigger, err := s.agent.o.Bodies.Alloc(next)
		if err != nil {
			return body, fmt.Errorf("%w: %w", errNoMemory, err)
		}
		if body != nil {
			guard.Copy(bigger.Bytes(), body.Bytes())
			body.Free()
		}
		body = bigger
		if _, err := io.ReadFull(s.conn, body.Bytes()[have:]); err != nil {
			return body, noEOF(err)
		}
		have = next
	}
	if !in.complete(&s.arrival) {
		return body, errNoRoom
	}
	return body, s.receiveAtLeisure()
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

// handleSecret handles a request that carries a secret. It returns nil on success;
// the identity, if any, is the one to note in a refusal.
func (s *session) handleSecret(ctx context.Context, number byte, body *guard.Buffer) (*identity, error) {
	switch number {
	case agentproto.MsgAddIdentity:
		return s.add(ctx, body, false)
	case agentproto.MsgAddIDConstrained:
		return s.add(ctx, body, true)
	case agentproto.MsgLock:
		return nil, s.agent.lock(ctx, body, s.peer.PID)
	case agentproto.MsgUnlock:
		return nil, s.agent.unlock(ctx, body, s.peer.PID)
	case agentproto.MsgAddToken, agentproto.MsgAddTokenConstrained, agentproto.MsgRemoveToken:
		return nil, errors.New("keys on PKCS#11 tokens are not supported")
	}
	return nil, fmt.Errorf("message number %d is not supported", number)
}

// errNoPassphrase refuses to lock or unlock with an empty passphrase.
var errNoPassphrase = errors.New("the passphrase is empty")

// hasPassphrase reports, from the length alone, whether the body of a LOCK or
// UNLOCK has a passphrase: it is longer than the length field.
func hasPassphrase(body *guard.Buffer) bool { return body != nil && body.Len() > 4 }

// lock hides all keys until unlock is called with the same passphrase (ssh-add -x).
func (a *Agent) lock(ctx context.Context, body *guard.Buffer, pid int) error {
	if !hasPassphrase(body) {
		return errNoPassphrase
	}
	if err := a.changing.take(ctx, pid); err != nil {
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

// unlock reverses lock (ssh-add -X). Each failure in a row adds UnlockDelay to the
// delay of the answer and of other attempts; processes take turns.
func (a *Agent) unlock(ctx context.Context, body *guard.Buffer, pid int) error {
	if !a.Locked() {
		return errors.New("the agent is not locked")
	}
	if !hasPassphrase(body) {
		return errNoPassphrase
	}
	if err := a.guessing.take(ctx, pid); err != nil {
		return err
	}
	defer a.guessing.give()
	if !a.Locked() {
		return errors.New("the agent is not locked")
	}
	err := a.o.Keeper.Unlock(ctx, body)
	body.Free() // don't hold it through the delay
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
	case <-ctx.Done(): // the daemon stops; a hangup doesn't shorten the delay
	}
	return err
}

func (a *Agent) setLocked(locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.locked = locked
	a.publish()
}
