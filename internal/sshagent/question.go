package sshagent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reasons for a question to end without an answer.
var (
	errNoPrompt = errors.New("the key asks for confirmation and there is no way to ask")
	errNobody   = fmt.Errorf("nobody answered within %v", QuestionTimeout)
	errLeft     = errors.New("the client went away before anybody answered")
)

// standing is a question that stands or waits to be shown.
type standing struct {
	id  *identity
	end context.CancelCauseFunc
}

// confirm asks the user, one question at a time; processes take turns. It ends
// when the client goes, when the key can't be used any more as it was asked for,
// or when time is up.
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

// whileUsable returns a context that ends when id can't be used any more as it
// is now. done is called afterwards.
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

// check ends the question unless its key is in s as it was.
func (q *standing) check(s *snapshot) {
	if s.locked {
		q.end(errLocked)
		return
	}
	now := s.byBlob[string(q.id.key.Blob)]
	if now == nil || now.signer == nil || !sameUse(now, q.id) {
		q.end(errChanged)
	}
}

// endQuestions ends those that are about what isn't in s any more. The caller
// holds mu, or is New.
func (a *Agent) endQuestions(s *snapshot) {
	for q := range a.standing {
		q.check(s)
	}
}

// whileConnected runs ask, whose context ends when the peer goes away: nobody
// should be asked for a client that has given up, whatever it sent before.
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
