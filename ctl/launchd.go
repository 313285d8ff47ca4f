package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"

	"vigil/internal/control"
	"vigil/internal/doctor"
	"vigil/internal/launchd"
	"vigil/internal/paths"
	"vigil/internal/serving"
)

// macOS is runtime.GOOS where launchd is the service manager.
const macOS = "darwin"

// agentLogin returns where Vigil is turned on as a LaunchAgent, and its state.
func (a *app) agentLogin(ctx context.Context) (*launchd.Login, *launchd.State, error) {
	program, err := a.vigild()
	if err != nil {
		return nil, nil, err
	}
	// launchd gives an agent no XDG variables.
	theirs, err := paths.FromEnviron([]string{"HOME=" + a.paths.Home})
	if err != nil {
		return nil, nil, err
	}
	if theirs.State != a.paths.State || theirs.Config != a.paths.Config || theirs.Data != a.paths.Data {
		return nil, nil, control.Errorf(control.CodeRefused, "Unset the XDG variables in this shell. Nothing was changed.",
			"launchd would use other folders than this shell, which has its state in %s", a.paths.State)
	}
	l := &launchd.Login{
		Agents: filepath.Join(a.paths.Home, "Library", "LaunchAgents"), Record: a.paths.ServiceRecord(),
		Program: program, Socket: theirs.AgentSocket(), Log: a.paths.Log(),
	}
	err = l.Find(a.environ)
	var s *launchd.State
	if err == nil {
		s, err = l.Look(ctx)
	}
	return l, s, launchdError(err)
}

// launchdError returns what to tell of a failed call of launchd.
func launchdError(err error) error {
	switch {
	case err == nil || codeOf(err) == control.CodeInterrupted:
		return err
	case errors.Is(err, launchd.ErrNone):
		return control.Errorf(control.CodeFailed, "Without it, `vigilctl up` starts the daemon, and `vigilctl env` sets SSH_AUTH_SOCK in a shell.", "%v", err)
	}
	return control.Errorf(control.CodeFailed, nextUndo, "%v", err)
}

// enableAgent is `service enable` on macOS.
func (a *app) enableAgent(ctx context.Context, yes bool) error {
	l, s, err := a.agentLogin(ctx)
	if err != nil {
		return err
	}
	if s.Changed != "" {
		return changedFile(s.Changed)
	}
	taken := s.Environment != "" && s.Environment != l.Socket
	if taken {
		a.say("%s in programs that launchd starts leads to %s, served by %s. It will lead to Vigil.", paths.SocketVariable, s.Environment, doctor.ServedBy(s.Environment))
	}
	place, running := serving.Find(a.paths.State)
	outside := running && place.PID != s.PID
	if outside {
		a.say("It stops the vigild that runs by itself (process %d), which locks everything.", place.PID)
	}
	if s.PID != 0 && !s.Current {
		a.say("It starts vigild again, from %s, which locks everything.", l.Program)
	}
	if taken || outside || s.PID != 0 && !s.Current {
		if err := a.ask(ctx, yes, "Turn the service on?"); err != nil {
			return err
		}
	}
	if outside {
		if _, err := a.stop(ctx); err != nil && codeOf(err) != control.CodeNoDaemon {
			return err
		}
	}
	if err := l.Enable(ctx, s); err != nil {
		return launchdError(err)
	}
	return a.showAgent(ctx)
}

// disableAgent is `service disable` on macOS.
func (a *app) disableAgent(ctx context.Context) error {
	l, s, err := a.agentLogin(ctx)
	if err == nil {
		err = launchdError(l.Disable(ctx, s))
	}
	if err != nil {
		return err
	}
	return a.print(map[string][]string{"back": {}}, func(w io.Writer) { printf(w, "the service is off\n") })
}

// restartAgent is `service restart` on macOS.
func (a *app) restartAgent(ctx context.Context, yes bool) error {
	l, s, err := a.agentLogin(ctx)
	if err != nil {
		return err
	}
	if !s.Loaded {
		return notAService()
	}
	if err := a.warnRestart(ctx, s.PID != 0, yes); err != nil {
		return err
	}
	if err := l.Restart(ctx); err != nil {
		return launchdError(err)
	}
	return a.print(struct{}{}, func(w io.Writer) { printf(w, "vigild was restarted, and is locked\n") })
}

// showAgent is `service status` on macOS.
func (a *app) showAgent(ctx context.Context) error {
	l, s, err := a.agentLogin(ctx)
	if err != nil {
		return err
	}
	return a.print(s, func(w io.Writer) {
		switch {
		case !s.Loaded:
			printf(w, "off: `vigilctl service enable` turns it on\n")
		case s.PID != 0:
			printf(w, "on, and vigild runs (process %d)\n", s.PID)
		default:
			printf(w, "on, but vigild doesn't run: `vigilctl up` starts it\n")
		}
		if s.Loaded && !s.Current {
			printf(w, "its file isn't this build's: `vigilctl service enable` writes it anew\n")
		}
		printOwners(w, l.Socket, []owner{
			{"programs that launchd starts", s.Environment, "launchctl setenv " + paths.SocketVariable + " " + l.Socket},
			{"this shell", a.env(paths.SocketVariable), `eval "$(vigilctl env)"`},
		})
	})
}

// agentStarts returns the manager for startDaemon if launchd runs Vigil; nil: it doesn't.
func (a *app) agentStarts(ctx context.Context) *manager {
	l, s, err := a.agentLogin(ctx)
	if err != nil || !s.Loaded {
		return nil
	}
	start := func(ctx context.Context) error {
		if err := l.Start(ctx); err != nil {
			return err
		}
		return a.awaitSocket(ctx, filepath.Join(filepath.Dir(l.Socket), filepath.Base(a.paths.ControlSocket())))
	}
	return &manager{start: start, runtime: filepath.Dir(l.Socket), program: l.Program, next: "Its log is " + l.Log}
}

// awaitSocket waits until a daemon that was told to start answers, at most readyTimeout.
func (a *app) awaitSocket(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := control.Dial(ctx, path)
		if err == nil {
			c.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
}
