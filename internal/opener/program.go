package opener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/ownership"
)

// Program is vigil-opener on the disk.
type Program struct {
	path string

	mu   sync.Mutex // guards held
	held *os.File   // nil: it is started by its path
}

// At returns the program at an absolute path.
func At(path string) *Program { return &Program{path: path} }

// Hold returns the program at an absolute path and, on Linux, holds the file, so that a
// running vigild goes on with it when an upgrade puts another build in its place. If it
// can't be held now, Start says why, or starts what is there then.
func Hold(path string) *Program {
	p := At(path)
	p.renew()
	return p
}

// renew holds what is at the path now.
func (p *Program) renew() {
	held, err := hold(p.path)
	if err != nil {
		held = nil
	}
	p.mu.Lock()
	p.held, held = held, p.held
	p.mu.Unlock()
	if held != nil {
		_ = held.Close()
	}
}

// Start starts an opener with files as its descriptors (see File), and exchanges hellos.
// The caller closes the files. The process is killed when ctx ends.
func (p *Program) Start(ctx context.Context, vault id.Vault, files ...*os.File) (*Client, error) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	c, err := p.start(ctx, held, vault, files)
	if held != nil && (errors.Is(err, &Error{Kind: OtherBuild}) || errors.Is(err, os.ErrClosed)) { // it was held amid an upgrade
		p.renew()
		return p.start(ctx, nil, vault, files)
	}
	return c, err
}

func (p *Program) start(ctx context.Context, held *os.File, vault id.Vault, files []*os.File) (*Client, error) {
	if err := guard.UntracedSelf(); err != nil {
		return nil, traced(err)
	}
	conn, theirs, err := ipc.Pair()
	if err != nil {
		return nil, fmt.Errorf("start opener: %w", err)
	}
	child, err := p.launch(held, append([]*os.File{theirs}, files...))
	_ = theirs.Close()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return greeted(ctx, child, conn, vault)
}

// launch starts the process.
func (p *Program) launch(held *os.File, files []*os.File) (child *ipc.Child, err error) {
	start := func(path string) error {
		if child, err = ipc.Start(path, []string{"vigil-opener"}, append(os.Environ(), "GOTRACEBACK=none"), files...); err != nil {
			err = fmt.Errorf("start opener %q: %w", p.path, err)
		}
		return err
	}
	if held != nil {
		return child, withPath(held, start)
	}
	if err := ownership.Program(p.path); err != nil {
		return nil, &Error{Kind: Failed, Message: err.Error(), Next: ownership.Next(err)}
	}
	return child, start(p.path)
}

// greeted returns the client of a new process.
func greeted(ctx context.Context, child *ipc.Child, conn *net.UnixConn, vault id.Vault) (*Client, error) {
	c := &Client{patience: unattended, child: child, conn: conn, stop: context.AfterFunc(ctx, child.Kill)}
	if err := ipc.Greet(conn, ipc.Front, ipc.Opener, vault); err != nil {
		c.Close()
		if errors.Is(err, ipc.ErrMismatch) {
			return nil, &Error{
				Kind: OtherBuild, Message: fmt.Sprintf("vigil-opener is not of vigild's build: %v", err),
				Next: "Restart the daemon: vigilctl down, then vigilctl up.",
			}
		}
		return nil, fmt.Errorf("start opener: %w", err)
	}
	return c, nil
}
