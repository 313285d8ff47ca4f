package main

import (
	"context"
	"os"

	"vigil/internal/control"
	"vigil/internal/systemd"
)

// startsIt returns the service manager if it starts Vigil for this shell's state folder, so
// that nobody else may, and what it starts; nil: it doesn't, or there is none.
func (a *app) startsIt(ctx context.Context) (*systemd.Manager, *systemd.Start) {
	m, err := systemd.Find(a.environ)
	if err != nil {
		return nil, nil
	}
	start, err := m.Start(ctx)
	if err != nil || start == nil || start.State != a.paths.State {
		return nil, nil
	}
	return m, start
}

// startService has the manager's sockets listen, and uses one, which starts the daemon.
func (a *app) startService(ctx context.Context, m *systemd.Manager, start *systemd.Start) error {
	const next = "`systemctl --user status vigild.service` says why. To do without the service: vigilctl service disable"
	if err := m.Run(ctx, "start", systemd.AgentSocket, systemd.ControlSocket); err != nil {
		return control.Errorf(control.CodeNoDaemon, next, "start the service: %v", err)
	}
	a.paths.Runtime = start.Runtime
	c, err := a.dial(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return control.Errorf(control.CodeNoDaemon, next, "the service doesn't answer: %v", err)
	}
	defer c.Close()
	if !c.SameBuild() {
		return otherService(start.Program)
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
	m, start := a.startsIt(ctx)
	if m == nil {
		return nil
	}
	mine, err := a.vigild()
	if err != nil {
		return err
	}
	x, err := os.Stat(mine)
	y, theirs := os.Stat(start.Program)
	if err == nil && theirs == nil && os.SameFile(x, y) {
		return nil
	}
	return otherService(start.Program)
}
