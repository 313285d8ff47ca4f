package sshagent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reasons why a question ends without an answer.
var (
	errNoPrompt = errors.New("the key asks for confirmation and there is no way to ask")
	errNobody   = fmt.Errorf("nobody answered within %v", QuestionTimeout)
	errLeft     = errors.New("the client went away before anybody answered")
)

// standing is a question that is shown or waits to be shown.
type standing struct {
	id  *identity
	end context.CancelCauseFunc
}

// confirm asks the user, one question at a time; processes take turns. The
// question ends when the client hangs up, when the key can no longer be used as
// the question says, or after QuestionTimeout.
func (s *session) confirm(ctx context.Context, id *identity, q Question) error {
	a := s.agent
	if a.o.Prompter == nil {
		return errNoPrompt
	}
	ctx, cancel := context.WithTimeoutCause(ctx, QuestionTimeout, errNobody)
	defer cancel()
	ctx, done := a.whileUsable(ctx, id)
	defer done()
	return s.whileConnected(ctx, func(ctx context.Context) error {
		if err := a.asking.take(ctx, s.peer.PID); err != nil {
			return err
		}
		defer a.asking.give()
		err := a.o.Prompter.Confirm(ctx, q)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	})
}

// whileUsable returns a context that ends when id can no longer be used as it is
// now. The caller calls done afterwards.
func (a *Agent) whileUsable(ctx context.Context, id *identity) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	q := &standing{id, cancel}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.standing[q] = struct{}{}
	q.check(a.current.Load())
	return ctx, func() {
		cancel(nil)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.standing, q)
	}
}

// check ends the question unless its key is in s, unchanged.
func (q *standing) check(s *snapshot) {
	if s.locked {
		q.end(errLocked)
		return
	}
	now := s.byBlob[string(q.id.key.Blob)]
	switch {
	case now != nil && now.signer == nil && now.vault != "" && now.vault == q.id.vault:
		q.end(fmt.Errorf("vault %s was locked while someone was asked", now.vault))
	case now == nil, now.signer == nil, !sameUse(now, q.id):
		q.end(errChanged)
	}
}

// endQuestions ends the questions about keys that are no longer in s. The caller
// holds mu, or is New.
func (a *Agent) endQuestions(s *snapshot) {
	for q := range a.standing {
		q.check(s)
	}
}

// whileConnected runs ask with a context that ends when the peer hangs up: nobody
// should be asked on behalf of a client that has given up.
func (s *session) whileConnected(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if s.conn.AwaitHangup() == nil {
			cancel(errLeft)
		}
	}()
	defer func() {
		s.hurried = true
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // ends the watch
		<-watched
		_ = s.receiveAtLeisure()
	}()
	return ask(ctx)
}
