package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"vigil/internal/daemon"
	"vigil/internal/guard"
	"vigil/internal/unixsock"
)

// agent is an agent about to serve.
type agent struct {
	at       *place
	lifetime time.Duration
	parent   int // the process whose end ends the agent, or 0
	// providers are the patterns of -P, or "".
	providers string
	environ   []string
	exe       string
	log       *slog.Logger
	ready     func() error // called once it is ready
	// interrupt is set if SIGINT ends the agent, which runs in a terminal.
	interrupt bool
	// activated is set if the socket is a service manager's: then SIGTERM is a
	// regular end.
	activated bool
}

// serveInForeground implements -d and -D.
func (p Program) serveInForeground(c *Command) int {
	level := slog.LevelInfo
	if c.Ground == Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: level}))
	a := agent{lifetime: c.Lifetime, providers: c.Providers, environ: p.Environ, exe: p.Exe, log: log, interrupt: true}
	l, err := activated(c, p.Environ)
	switch {
	case err != nil:
		p.report("", err)
		return statusFailure
	case l != nil:
		a.at, a.activated = &place{listener: l}, true
		a.environ = without(p.Environ, listenFDs, listenPID, listenNames)
	default:
		if a.at, err = listen(c, p.Environ); err != nil {
			return p.failToListen(c, err)
		}
	}
	a.ready = func() error {
		if a.activated {
			return nil
		}
		_, err := io.WriteString(p.Stdout, exports(a.at.socket, os.Getpid(), c.CShell, true))
		return err
	}
	status, err := a.serve()
	if err != nil {
		p.report("", err)
	}
	return status
}

// Variables of sd_listen_fds(3).
const (
	listenFDs   = "LISTEN_FDS"
	listenPID   = "LISTEN_PID"
	listenNames = "LISTEN_FDNAMES"
)

// activated returns the socket that a service manager passed, or nil. As in
// ssh-agent, it is used unless -a names one, and a wrong one is an error: nobody
// would find an agent with another socket.
func activated(c *Command, environ []string) (*unixsock.Listener, error) {
	fds, isFDs := find(environ, listenFDs)
	pid, isPID := find(environ, listenPID)
	if c.Socket != "" || !isFDs || !isPID {
		return nil, nil
	}
	if fds != "1" {
		return nil, fmt.Errorf("%s is %q: want one socket", listenFDs, fds)
	}
	if pid != fmt.Sprint(os.Getpid()) {
		return nil, fmt.Errorf("%s is %q, and this is process %d", listenPID, pid, os.Getpid())
	}
	passed, err := unixsock.Activated(environ, os.Getpid())
	if err != nil {
		return nil, err
	}
	return passed[0], nil
}

// serveInBackground runs the process that launch started.
func (p Program) serveInBackground(args []string) int {
	guard.NameProcess(Name)
	pipe := os.NewFile(readyFD, "ready")
	status, err := p.serveInherited(args, pipe)
	if err != nil {
		fmt.Fprintln(pipe, strings.ReplaceAll(err.Error(), "\n", "; ")) // nobody reads the pipe once the agent is ready
	}
	return status
}

func (p Program) serveInherited(args []string, ready *os.File) (int, error) {
	unixsock.CloseOnExec()
	b, err := parseBackgroundArgs(args)
	if err != nil {
		return statusFailure, err
	}
	l, err := unixsock.Inherit(socketFD, b.socket)
	if err != nil {
		return statusFailure, err
	}
	a := agent{
		at: &place{listener: l, folder: b.folder}, lifetime: b.lifetime, parent: b.parent, providers: b.providers,
		environ: p.Environ, exe: p.Exe, log: systemLog(),
		ready: func() error {
			_, err := ready.WriteString("\n")
			return errors.Join(err, ready.Close())
		},
	}
	status, err := a.serve()
	if err != nil {
		a.log.Error("ended", "err", err)
	}
	return status, err
}

// serve serves until a signal or the end of the parent, and returns the exit
// status. An error is why it couldn't continue.
func (a *agent) serve() (int, error) {
	defer a.at.release()
	hardening, err := guard.Harden()
	if err != nil {
		return statusFailure, err
	}
	d, err := daemon.New(daemon.Options{
		Exe: a.exe, Prompter: daemon.NewPrompter(a.environ), Lifetime: a.lifetime, Providers: a.providers, Log: a.log, Hardening: hardening,
	})
	if err != nil {
		return statusFailure, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	signals := a.notify()
	defer signal.Stop(signals)
	var readyErr error
	served := make(chan error, 1)
	go func() {
		served <- d.Run(ctx, a.at.listener, nil, func() {
			if readyErr = a.ready(); readyErr != nil {
				cancel() // the starting process has ended
			}
		})
	}()
	gone := parentGone(ctx, a.parent)
	defer func() {
		cancel()
		if gone != nil {
			<-gone
		}
	}()
	orphaned := gone
	status := statusEnded
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGUSR1 {
				a.log.Info("removing all keys", "signal", s.String())
				d.DropAdded(ctx)
				continue
			}
			a.log.Info("exiting", "signal", s.String())
			if s == syscall.SIGTERM && a.activated {
				status = statusDone
			}
			cancel()
		case <-orphaned:
			orphaned = nil
			if ctx.Err() == nil {
				a.log.Info("exiting: the parent has ended")
			}
			cancel()
		case err := <-served:
			if err = errors.Join(err, readyErr); err != nil {
				return statusFailure, err
			}
			return status, nil
		}
	}
}

// notify starts catching the signals that ssh-agent handles.
func (a *agent) notify() chan os.Signal {
	signal.Ignore(syscall.SIGPIPE)
	ends := []os.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGUSR1}
	if a.interrupt {
		ends = append(ends, syscall.SIGINT)
	} else {
		signal.Ignore(syscall.SIGINT)
	}
	signals := make(chan os.Signal, len(ends))
	signal.Notify(signals, ends...)
	return signals
}
