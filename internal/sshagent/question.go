package sshagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vigil/internal/policy"
	"vigil/internal/pubkey"
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

// Prompter asks a human.
type Prompter interface {
	// Confirm returns nil if the human said yes. The error's text becomes the reason of
	// the refusal ("nobody answered", "no way to ask"). The context ends when the client
	// hangs up. forLonger is set if the yes holds for q.Longer.
	Confirm(ctx context.Context, q Question) (forLonger bool, err error)
}

// Question is what a human is asked before a key is used. Unprintable characters
// are removed from texts that peers chose.
type Question struct {
	Comment     string // the key's name
	Fingerprint string // SHA256:…
	Vault       string // empty for a key that ssh-add added
	Purpose     string // what is signed: "login as root to db1", "signature for git"
	Host        string // SHA256:… of the key of the host to log in to, or empty
	From        string // SHA256:… of the key of the host the agent was forwarded to, or empty
	First       string // SHA256:… of the key of the first such host, which this machine's ssh has proved; From is the last
	Hops        int    // how many there are
	Peer        Peer   // the program that asks, Program filled in
	Forwarded   bool   // it came through a forwarded agent, or may have: see policy.Path
	EachUse     bool   // the key's owner wants to be asked each time, as with ssh-add -c
	// Longer is for how long a yes may hold for the same use; 0: for this one alone.
	Longer time.Duration
}

// question returns what a person is asked before id is used for a request of size bytes.
func (s *session) question(id *identity, use *policy.Use, size int) Question {
	q := Question{
		Comment: pubkey.CleanComment(id.comment), Fingerprint: id.fingerprint, Vault: id.vault,
		Purpose: use.String(), Peer: s.peerNamed(), EachUse: id.confirm, Forwarded: s.path.Forwarded(),
	}
	if use.Class == policy.ClassUnknown {
		q.Purpose = fmt.Sprintf("%d bytes that aren't a login, a file's signature or a certificate", size)
	}
	if use.Host != nil {
		q.Host = pubkey.SHA256(use.Host.Plain)
	}
	_, q.From = s.hosts()
	for i := range s.path.Bindings {
		if b := &s.path.Bindings[i]; b.Forwarding {
			if q.Hops++; q.Hops == 1 {
				q.First = pubkey.SHA256(b.Host.Plain)
			}
		}
	}
	// An answer about a login to a host that nobody has proved would hold for every host,
	// and one about a connection whose bind was refused for whatever is behind it.
	if !id.confirm && id.approve.Lasts(use) && !s.path.Failed && (use.Host != nil || use.Class != policy.ClassLogin) && s.agent.o.OriginOf != nil {
		q.Longer = GrantTime
	}
	return q
}

// maxAsked is how many characters of each text a question shows, and maxAskedName how many
// of a name. A pinentry's text ends after 1,000 bytes, in which a character takes up to
// four, and some of ASCII three: a long name must not hide what the key is used for, or by
// which host.
const (
	maxAsked     = 200
	maxAskedName = 60
)

// String returns the question in ssh-agent's words, with what else is known.
func (q Question) String() string {
	return fmt.Sprintf("Allow use of key %.*s?", maxAskedName, q.Comment) + q.details()
}

// ForPassphrase returns the question for the passphrase of the key's vault.
func (q Question) ForPassphrase() string {
	return fmt.Sprintf("Passphrase of vault %s, to use its key %.*s.", q.Vault, maxAskedName, q.Comment) + q.details()
}

// details returns what the agent knows of a use, and apart from it what the program that
// asks says of itself. What others chose comes behind what they can't.
func (q Question) details() string {
	s := "\nKey fingerprint " + q.Fingerprint + "."
	if q.Host != "" {
		s += "\nAt the host with key " + q.Host + "."
	}
	switch {
	case q.Forwarded && q.Hops == 0:
		s += "\nThrough an agent that may be forwarded: what the client says of its session was refused."
	case q.Hops == 1:
		s += "\nThrough the agent forwarded to the host with key " + q.From + "."
	case q.Hops > 1:
		s += fmt.Sprintf("\nThrough the agent forwarded to the host with key %s, and by it over %d more to the host with key %s.", q.First, q.Hops-1, q.From)
	}
	if q.Purpose != "" {
		s += fmt.Sprintf("\nFor: %.*s", maxAsked, q.Purpose)
	}
	if q.Peer.Program != "" {
		s += fmt.Sprintf("\n\nNot verified: asked by %.*s (process %d)", maxAsked, pubkey.CleanComment(q.Peer.Program), q.Peer.PID)
	}
	return s
}

// approve asks the user, one question at a time, unless an answer to the same question
// holds; processes take turns. The question ends when the client hangs up, when the key
// can no longer be used as the question says, or after QuestionTimeout.
func (s *session) approve(ctx context.Context, id *identity, use *policy.Use, q Question) error {
	a := s.agent
	if a.o.Prompter == nil {
		return errNoPrompt
	}
	var same scope
	if q.Longer > 0 {
		same = s.scope(id, use)
	}
	if q.Longer > 0 && a.grants.hold(same) {
		return nil
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
		if q.Longer > 0 && a.grants.hold(same) { // given while this waited
			return nil
		}
		longer, err := a.o.Prompter.Confirm(ctx, q)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && longer && q.Longer > 0:
			a.grant(same, id, q)
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
