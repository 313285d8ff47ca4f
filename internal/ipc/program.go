package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"vigil/internal/id"
	"vigil/internal/ownership"
)

// endTimeout is how long a child without a conversation may take to exit.
const endTimeout = 2 * time.Second

// Program is a program on the disk that serves this process as a child.
type Program struct {
	path string
	args []string

	mu   sync.Mutex // guards held
	held *os.File   // nil: it is started by its path
}

// ProgramAt returns the program at an absolute path, and its argv.
func ProgramAt(path string, args ...string) *Program { return &Program{path: path, args: args} }

// Hold makes the program, on Linux, hold its file, so that a running vigild goes on with
// it when an upgrade puts another build in its place. If it can't be held now, Start says
// why, or starts what is there then.
func (p *Program) Hold() {
	held, err := hold(p.path)
	if err != nil {
		held = nil
	}
	p.mu.Lock()
	held, p.held = p.held, held
	p.mu.Unlock()
	if held != nil {
		_ = held.Close()
	}
}

// Start starts the program in a role, with files as its descriptors after that of the
// conversation, which is FirstFile, and exchanges hellos. The caller closes the files, and
// ends the child when ctx does. The error wraps ErrMismatch for another build.
func (p *Program) Start(ctx context.Context, role Role, vault id.Vault, files ...*os.File) (*Child, *net.UnixConn, error) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	child, conn, err := p.start(ctx, held, role, vault, files)
	if held != nil && (errors.Is(err, ErrMismatch) || errors.Is(err, os.ErrClosed)) { // it was held amid an upgrade
		p.Hold()
		return p.start(ctx, nil, role, vault, files)
	}
	return child, conn, err
}

func (p *Program) start(ctx context.Context, held *os.File, role Role, vault id.Vault, files []*os.File) (*Child, *net.UnixConn, error) {
	conn, theirs, err := Pair()
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", role, err)
	}
	child, err := p.launch(held, role, append([]*os.File{theirs}, files...))
	_ = theirs.Close()
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	defer context.AfterFunc(ctx, child.Kill)()
	if err := Greet(conn, Front, role, vault); err != nil {
		_ = conn.Close()
		child.End(endTimeout)
		return nil, nil, fmt.Errorf("start %s: %w", role, err)
	}
	return child, conn, nil
}

// launch starts the process. The error is of package ownership if somebody else could
// have replaced the program.
func (p *Program) launch(held *os.File, role Role, files []*os.File) (child *Child, err error) {
	start := func(path string) error {
		if child, err = Start(path, p.args, append(os.Environ(), "GOTRACEBACK=none"), files...); err != nil {
			err = fmt.Errorf("start %s %q: %w", role, p.path, err)
		}
		return err
	}
	if held != nil {
		return child, withPath(held, start)
	}
	if err := ownership.Program(p.path); err != nil {
		return nil, &UnsafeError{err}
	}
	return child, start(p.path)
}

// UnsafeError reports a program that somebody else could have replaced, or that isn't
// there; ownership.Next says what to do about it.
type UnsafeError struct{ Err error }

func (e *UnsafeError) Error() string { return e.Err.Error() }
func (e *UnsafeError) Unwrap() error { return e.Err }
