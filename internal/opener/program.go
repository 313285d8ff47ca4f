package opener

import (
	"context"
	"errors"
	"fmt"
	"os"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/ownership"
)

// Program is vigil-opener on the disk.
type Program struct{ p *ipc.Program }

// At returns the program at an absolute path.
func At(path string) *Program { return &Program{ipc.ProgramAt(path, "vigil-opener")} }

// Hold is At for a running daemon's: see [ipc.Program.Hold].
func Hold(path string) *Program {
	p := At(path)
	p.p.Hold()
	return p
}

// Start starts an opener with files as its descriptors (see File), and exchanges hellos.
// The caller closes the files. The process is killed when ctx ends.
func (p *Program) Start(ctx context.Context, vault id.Vault, files ...*os.File) (*Client, error) {
	if err := guard.UntracedSelf(); err != nil {
		return nil, traced(err)
	}
	child, conn, err := p.p.Start(ctx, ipc.Opener, vault, files...)
	var unsafe *ipc.UnsafeError
	switch {
	case errors.As(err, &unsafe):
		return nil, &Error{Kind: Failed, Message: err.Error(), Next: ownership.Next(unsafe.Err)}
	case errors.Is(err, ipc.ErrMismatch):
		return nil, &Error{
			Kind: OtherBuild, Message: fmt.Sprintf("vigil-opener is not of vigild's build: %v", errors.Unwrap(err)),
			Next: "Restart the daemon: vigilctl down, then vigilctl up.",
		}
	case err != nil:
		return nil, err
	}
	return &Client{patience: unattended, child: child, conn: conn, stop: context.AfterFunc(ctx, child.Kill)}, nil
}
