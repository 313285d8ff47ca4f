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

	"vigil/internal/ask"
	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/prompt"
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
	if _, err := ipc.Answer(conn, ipc.Asker, ipc.Front); err != nil {
		return 1
	}
	q, err := ask.ReadQuestion(conn)
	if err != nil {
		return 1
	}
	if err := errors.Join(hardenErr, untraced()); err != nil {
		return status(ask.Send(conn, &ask.Answer{Reason: err.Error()}, nil))
	}
	a := &asker{conn: conn, verdicts: make(chan ask.Verdict)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel() // the front has gone, or wants no answer any more
		a.listen(ctx)
	}()
	err = a.ask(ctx, q)
	_ = conn.Close()
	cancel()
	<-ended
	return status(err)
}

func status(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// untraced returns an error if this process or its front is traced: a tracer could read
// what is typed.
func untraced() error { return errors.Join(guard.UntracedSelf(), guard.Untraced(os.Getppid())) }

type asker struct {
	conn     *net.UnixConn
	verdicts chan ask.Verdict // of passphrases that were wrong
}

// listen passes on what the front says until it has gone.
func (a *asker) listen(ctx context.Context) {
	for {
		v, err := ask.ReadVerdict(a.conn)
		if err != nil {
			return
		}
		select {
		case a.verdicts <- v:
		case <-ctx.Done():
			return
		}
	}
}

// ask shows the prompt, and answers the front. The error is that of talking to it, or ctx's.
func (a *asker) ask(ctx context.Context, q ask.Question) error {
	if q.Confirm {
		longer, err := prompt.New(q.Environ).Confirm(ctx, q.Title, q.Text, q.Longer)
		return a.end(ctx, ask.Answer{Allowed: err == nil, Longer: longer}, err)
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
	err = prompt.New(q.Environ).Passphrase(ctx, q.Title, q.Text, m, func(passphrase []byte) (string, error) {
		if err := a.give(passphrase); err != nil {
			return "", err
		}
		guard.Wipe(passphrase)
		select {
		case v := <-a.verdicts:
			return v.Wrong, nil
		case <-ctx.Done():
			return "", nil // it was right, or doesn't matter any more
		}
	})
	if err == nil {
		return ctx.Err()
	}
	return a.end(ctx, ask.Answer{}, err)
}

// end gives the front the last answer: this one, or what the error says.
func (a *asker) end(ctx context.Context, last ask.Answer, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
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
	if err := untraced(); err != nil {
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
