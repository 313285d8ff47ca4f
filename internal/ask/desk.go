// Package ask is how the front asks a person for a vault's passphrase when a signature
// needs it: when, on whose behalf, where, and by which process. It never sees what is
// typed.
//
//	desk.go    one prompt for each vault and place, which all requests join
//	quiet.go   how long nobody is asked after nobody answered
//	place.go   where a prompt appears: never where the requester says
//	standby.go the `vigilctl ask`s that wait for requests
//	caller.go  what the kernel says of the requester
//	asker.go   the process that shows the prompt (package ask/asker)
package ask

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vigil/internal/session"
)

// Linger is how long a prompt stays after the last client that waited has gone: ssh gives
// up before a person has typed a passphrase, and is called again.
const Linger = 10 * time.Second

// Why a prompt ended without an unlock.
var (
	// ErrUnavailable reports that nobody can be asked. The wrapping error says why.
	ErrUnavailable = errors.New("nobody can be asked")
	// ErrDeclined reports that the person said no, or closed the prompt.
	ErrDeclined = errors.New("it was declined at the prompt")
	// ErrUnanswered reports that nobody answered in time.
	ErrUnanswered = errors.New("nobody answered the prompt")

	errLocked   = errors.New("the vault was locked while someone was asked")
	errAlone    = errors.New("every client that waited has gone")
	errEnded    = errors.New("the daemon ends")
	errUnlocked = errors.New("the vault was unlocked meanwhile")
)

// maxAtTerminals bounds the prompts for one vault on terminals: each is a process, and
// programs make terminals as they like.
const maxAtTerminals = 16

// Request is a client's need for an unlocked vault.
type Request struct {
	Caller    Caller
	Text      string // what the person is asked, of the request that the prompt is opened for
	Forwarded bool   // it came through a forwarded agent, or may have
	// Proved tells where a passphrase was typed that whoever answers must know, for a
	// request to allow something; nil: a passphrase is asked for.
	Proved func(Witness) bool

	session *session.Session // on whose terminal it is asked; nil: see notHere
	notHere error            // why it isn't asked on its own terminal
}

// terminal returns the session on whose terminal a request is asked, or the zero ID.
func (r *Request) terminal() session.ID {
	if r.session == nil {
		return session.ID{}
	}
	return r.session.ID
}

// Desk is where requests for one vault wait for a person. Those from the foreground of a
// registered session have a prompt of their own there, so that no other program's prompt
// holds them up; all others share one. The first that is answered ends them all. It holds
// no lock while one is asked.
type Desk struct {
	show func(context.Context, Request) error

	running sync.WaitGroup

	mu     sync.Mutex            // guards the fields below
	open   map[session.ID]*shown // those that can be joined, by terminal
	last   map[session.ID]*shown // the newest of each terminal, until it, and so each before it, has gone
	quiet  quiet
	closed bool
}

// shown is a prompt that is shown, or about to be.
type shown struct {
	at   session.ID // on whose terminal; zero: elsewhere
	end  context.CancelCauseFunc
	done chan struct{} // closed when it is gone
	err  error         // set before done is closed; nil: the vault is unlocked

	// The desk's mutex guards the fields below.
	origins map[string]bool // of the requests that joined
	waiting int
	linger  *time.Timer // nil while someone waits
}

// NewDesk returns a desk whose prompts are shown by a function that returns nil once the
// vault is unlocked. It ends with its context. Wait for the desk after Close.
func NewDesk(show func(ctx context.Context, first Request) error) *Desk {
	return &Desk{show: show, open: map[session.ID]*shown{}, last: map[session.ID]*shown{}}
}

// Ask waits until a person has unlocked the vault, and returns nil. It opens a prompt, or
// joins the one that is shown. If ctx ends, it leaves the prompt to the others.
func (d *Desk) Ask(ctx context.Context, r Request) error {
	p, err := d.join(ctx, r)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		d.leave(p)
		return context.Cause(ctx)
	}
}

func (d *Desk) join(ctx context.Context, r Request) (*shown, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := r.terminal()
	switch {
	case d.closed:
		return nil, errEnded
	case r.session != nil && d.open[at] == nil && len(d.last) > maxAtTerminals:
		return nil, fmt.Errorf("%w: there are %d prompts already", ErrUnavailable, len(d.last))
	case d.open[at] == nil:
		if err := d.quiet.check(r.Caller.Origin, r.session != nil, time.Now()); err != nil {
			return nil, err
		}
		d.start(ctx, r)
	}
	p := d.open[at]
	p.waiting++
	p.origins[r.Caller.Origin] = true
	if p.linger != nil {
		p.linger.Stop()
		p.linger = nil
	}
	return p, nil
}

// start opens a prompt, once the one before in its place has gone. The caller holds mu.
func (d *Desk) start(ctx context.Context, r Request) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	p := &shown{at: r.terminal(), end: end, done: make(chan struct{}), origins: map[string]bool{}}
	before := d.last[p.at]
	d.open[p.at], d.last[p.at] = p, p
	d.running.Go(func() {
		defer end(nil)
		defer close(p.done)
		if before != nil {
			<-before.done
		}
		p.err = d.settle(ctx, p, d.show(ctx, r))
	})
}

// settle takes a prompt that has ended from the desk, and returns what its requests are
// told.
func (d *Desk) settle(ctx context.Context, p *shown, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, errUnlocked) {
		err = nil
	}
	elsewhere := p.at == session.ID{}
	switch {
	case err == nil:
		d.quiet = quiet{}
		d.closeAll(errUnlocked)
	case errors.Is(err, ErrDeclined):
		d.quiet.begin(p.origins, elsewhere, time.Now(), firstQuiet)
	case errors.Is(err, ErrUnanswered):
		d.quiet.begin(p.origins, elsewhere, time.Now(), unansweredQuiet)
	}
	d.close(p, nil)
	if d.last[p.at] == p {
		delete(d.last, p.at)
	}
	return err
}

// close ends a prompt. Nobody joins it any more. The caller holds mu.
func (d *Desk) close(p *shown, cause error) {
	if d.open[p.at] == p {
		delete(d.open, p.at)
	}
	if p.linger != nil {
		p.linger.Stop()
		p.linger = nil
	}
	p.end(cause)
}

// closeAll ends every prompt. The caller holds mu.
func (d *Desk) closeAll(cause error) {
	for _, p := range d.open {
		d.close(p, cause)
	}
}

func (d *Desk) leave(p *shown) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.waiting--; p.waiting > 0 || d.open[p.at] != p {
		return
	}
	if p.at != (session.ID{}) { // what runs there next reads what is typed
		d.close(p, errAlone)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(Linger, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if p.linger == timer { // nobody has joined, and it hasn't ended
			d.quiet.begin(p.origins, true, time.Now(), firstQuiet)
			d.close(p, errAlone)
		}
	})
	p.linger = timer
}

// Waiting returns how many requests wait for the prompts that are shown.
func (d *Desk) Waiting() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.open {
		n += p.waiting
	}
	return n
}

// Unlocked says that the vault was unlocked elsewhere: requests that wait go on, and
// people are asked again.
func (d *Desk) Unlocked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.quiet = quiet{}
	d.closeAll(errUnlocked)
}

// Locked says that someone locked the vault: what was asked before doesn't undo it. The
// channels are closed once the prompts that were shown have gone, and their askers, which
// may have a passphrase.
func (d *Desk) Locked() (gone []<-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closeAll(errLocked)
	for _, p := range d.last {
		gone = append(gone, p.done)
	}
	return gone
}

// Close ends the prompts, and refuses others.
func (d *Desk) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.closeAll(errEnded)
}

// Wait waits until a closed desk's prompts have gone.
func (d *Desk) Wait() { d.running.Wait() }
