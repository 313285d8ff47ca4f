package main

import (
	"context"
	"os"

	"vigil/internal/control"
	"vigil/internal/systemd"
)

// manager is a service manager that starts Vigil for this shell's state folder, so that
// nobody else may.
type manager struct {
	start   func(context.Context) error // has its sockets answer
	runtime string                      // their folder
	program string                      // path of the vigild that it starts
	next    string                      // what to do if it doesn't start
}

// startsIt returns the service manager that starts Vigil; nil: nobody does.
func (a *app) startsIt(ctx context.Context) *manager {
	if a.goos == macOS {
		return a.agentStarts(ctx)
	}
	m, err := systemd.Find(a.environ)
	if err != nil {
		return nil
	}
	start, err := m.Start(ctx)
	if err != nil || start == nil || start.State != a.paths.State {
		return nil
	}
	return &manager{
		start: func(ctx context.Context) error {
			return m.Run(ctx, "start", systemd.AgentSocket, systemd.ControlSocket)
		},
		runtime: start.Runtime, program: start.Program, next: "`systemctl --user status vigild.service` says why.",
	}
}

// startService has the manager's sockets answer, and uses one, which starts the daemon if
// the manager hasn't.
func (a *app) startService(ctx context.Context, m *manager) error {
	next := m.next + " To do without the service: vigilctl service disable"
	if err := m.start(ctx); err != nil {
		return control.Errorf(control.CodeNoDaemon, next, "start the service: %v", err)
	}
	a.paths.Runtime = m.runtime
	c, err := a.dial(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return control.Errorf(control.CodeNoDaemon, next, "the service doesn't answer: %v", err)
	}
	defer c.Close()
	if !c.SameBuild() {
		return otherService(m.program)
	}
	return nil
}

// otherService reports a service that starts another build than this program's.
func otherService(program string) error {
	return control.Errorf(control.CodeOtherBuild, "Use the vigilctl beside it, or turn the service off: vigilctl service disable", "the service starts another build of vigild: %s", program)
}

// comesBack returns an error if to stop a daemon of another build would lock for nothing:
// the service starts it again, from another folder than this program's.
func (a *app) comesBack(ctx context.Context) error {
	m := a.startsIt(ctx)
	if m == nil {
		return nil
	}
	mine, err := a.vigild()
	if err != nil {
		return err
	}
	x, err := os.Stat(mine)
	y, theirs := os.Stat(m.program)
	if err == nil && theirs == nil && os.SameFile(x, y) {
		return nil
	}
	return otherService(m.program)
}
