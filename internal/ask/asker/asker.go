// Package asker is the process that asks a person for a passphrase, which the front starts
// and package ask talks to. It alone sees what is typed, in guarded memory, and writes it
// into a pipe whose other end the front gives to the opener, unread.
package asker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"vigil/internal/ask"
	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/prompt"
	"vigil/internal/session"
	"vigil/internal/unixsock"
)

// memory is the size of the guarded memory, in bytes: that of the smallest slab.
const memory = 64 << 10

// Main runs an asker on the inherited connection until the front closes it. It returns its
// exit status; how it went is in its answers.
func Main() int {
	guard.NameProcess("vigil-asker") // it may have been started by the number of a descriptor
	_, hardenErr := guard.Harden()
	conn, err := unixsock.Conn(ask.FrontFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vigilctl: only vigild starts an asker")
		return 2
	}
	defer conn.Close()
	return status(Serve(context.Background(), conn, os.Getppid(), hardenErr, onItsOwn))
}

// Prompter asks a person.
type Prompter interface {
	Passphrase(ctx context.Context, title, text string, m prompt.Memory, use func([]byte) (wrong string, err error)) error
	Confirm(ctx context.Context, title, text string, longer time.Duration) (forLonger bool, err error)
}

// onItsOwn returns who asks where the question says, and what ends that.
func onItsOwn(ctx context.Context, q ask.Question) (Prompter, context.Context, func(), error) {
	if q.Session == nil {
		return prompt.New(q.Environ), ctx, func() {}, nil
	}
	t, err := prompt.OpenTerminal(q.Session.Path, q.Session.TTY)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, stop := inForeground(ctx, q.Session, q.Foreground)
	return t, ctx, func() { stop(); t.Close() }, nil
}

// look is how often the asker looks who has the terminal: before a shell, come back to the
// foreground, has shown its prompt and read a key.
const look = 20 * time.Millisecond

// inForeground returns a context that ends when another process group has the terminal:
// what is typed then isn't for the prompt. The caller calls stop afterwards.
func inForeground(ctx context.Context, s *session.Session, group int) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(look)
		defer tick.Stop()
		for s.Foreground() == group {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel(ask.ErrLeft)
	}()
	return ctx, func() { cancel(nil); <-ended }
}

// Show says who asks a question, until ctx or the returned context ends. done is called
// afterwards.
type Show func(ctx context.Context, q ask.Question) (p Prompter, until context.Context, done func(), err error)

// Serve is an asker on a connection with the front, until that closes it or ctx ends. It
// closes the connection, and returns an error unless the front was told how it went.
func Serve(ctx context.Context, conn *net.UnixConn, front int, unfit error, show Show) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := ipc.Answer(conn, ipc.Asker, ipc.Front); err != nil {
		return err
	}
	q, err := ask.ReadQuestion(conn)
	if err != nil {
		return err
	}
	a := &asker{conn: conn, front: front, show: show, verdicts: make(chan ask.Verdict)}
	if err := errors.Join(unfit, a.untraced()); err != nil {
		return ask.Send(conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(a.listen(ctx)) // the front has gone, or wants no answer any more
	}()
	err = a.ask(ctx, q)
	_ = conn.Close()
	cancel(nil)
	<-ended
	return err
}

func status(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

type asker struct {
	conn     *net.UnixConn
	front    int // its process
	show     Show
	verdicts chan ask.Verdict // of passphrases that were wrong
}

// untraced returns an error if this process or its front is traced: a tracer could read
// what is typed.
func (a *asker) untraced() error { return errors.Join(guard.UntracedSelf(), guard.Untraced(a.front)) }

// Over is how a prompt ended, as the front says.
type Over string

func (o Over) Error() string { return string(o) }

// listen passes on what the front says until it has gone, and returns how it says that the
// prompt ended.
func (a *asker) listen(ctx context.Context) error {
	for {
		v, err := ask.ReadVerdict(a.conn)
		switch {
		case err != nil:
			return nil
		case v.Over != "":
			return Over(v.Over)
		}
		select {
		case a.verdicts <- v:
		case <-ctx.Done():
			return nil
		}
	}
}

// ask shows the prompt, and answers the front. The error is that of talking to it, or ctx's.
func (a *asker) ask(ctx context.Context, q ask.Question) error {
	if q.Confirm {
		return a.confirm(ctx, q)
	}
	slab, err := q.Memory.NewSlab(memory)
	if err != nil {
		return ask.Send(a.conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	defer slab.Close()
	answer, err := slab.Alloc(prompt.MaxPassphrase)
	if err != nil {
		return ask.Send(a.conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	line, err := slab.Alloc(prompt.MaxLine)
	if err != nil {
		return ask.Send(a.conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	m := prompt.Memory{Answer: answer.Bytes(), Line: line.Bytes()}
	p, until, done, err := a.show(ctx, q)
	if err != nil {
		return ask.Send(a.conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	defer done()
	err = p.Passphrase(until, q.Title, q.Text, m, func(passphrase []byte) (string, error) {
		if err := a.give(passphrase); err != nil {
			return "", err
		}
		guard.Wipe(passphrase)
		select {
		case v := <-a.verdicts:
			return v.Wrong, nil
		case <-until.Done():
			return "", nil // it was right, or doesn't matter any more
		}
	})
	if err == nil && ctx.Err() == nil {
		return nil
	}
	return a.end(ctx, ask.Answer{}, err)
}

// confirm shows a question, and answers the front.
func (a *asker) confirm(ctx context.Context, q ask.Question) error {
	p, until, done, err := a.show(ctx, q)
	if err != nil {
		return ask.Send(a.conn, &ask.Answer{Reason: err.Error()}, nil)
	}
	defer done()
	longer, err := p.Confirm(until, q.Title, q.Text, q.Longer)
	return a.end(ctx, ask.Answer{Allowed: err == nil, Longer: longer}, err)
}

// end gives the front the last answer: this one, or what the error says.
func (a *asker) end(ctx context.Context, last ask.Answer, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, prompt.ErrDeclined):
		last.Declined = true
	case err != nil:
		last.Reason = err.Error()
	}
	return ask.Send(a.conn, &last, nil)
}

// give passes a pipe with the passphrase to the front. A pipe's memory is the kernel's and
// isn't swapped, and holds the longest passphrase before anyone reads.
func (a *asker) give(passphrase []byte) error {
	if err := a.untraced(); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the passphrase: %w", err)
	}
	defer r.Close()
	_, err = w.Write(passphrase)
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("write the passphrase to a pipe: %w", err)
	}
	return ask.Send(a.conn, &ask.Answer{Typed: true}, r)
}
