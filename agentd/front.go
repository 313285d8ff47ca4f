package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"vigil/internal/ask"
	"vigil/internal/buildid"
	"vigil/internal/config"
	"vigil/internal/daemon"
	"vigil/internal/guard"
	"vigil/internal/logfile"
	"vigil/internal/logind"
	"vigil/internal/opener"
	"vigil/internal/paths"
	"vigil/internal/serving"
	"vigil/internal/systemd"
	"vigil/internal/unixsock"
)

// options are vigild's flags.
type options struct {
	readyFD int
	logFile string
	version bool
}

func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("vigild", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, "usage: vigild [--ready-fd N] [--log-file NAME] [--version]\n\n"+
			"Serves SSH_AUTH_SOCK in the foreground. `vigilctl up` starts it in the background.\n\n")
		flags.PrintDefaults()
	}
	flags.IntVar(&o.readyFD, "ready-fd", -1, "write a byte to this descriptor when both sockets answer")
	flags.StringVar(&o.logFile, "log-file", "", "name of the file that standard error appends to: it is put aside when it's full, and status names it")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// coresForFront is the divisor of the number of CPUs that the front uses. The
// front only passes messages on to keepers; on more CPUs, each message wakes idle
// threads, which costs a fifth of the signatures per second.
const coresForFront = 2

// front runs the daemon: harden, flags, paths, config, sockets, serve. It
// returns the exit status.
func front(args, environ []string, stderr io.Writer) int {
	hardening, hardenErr := guard.Harden()
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/coresForFront))
	o, err := parse(args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, 2, err)
	case o.version:
		fmt.Println("vigild", buildid.Version(), buildid.ID())
		return 0
	case hardenErr != nil:
		return fail(stderr, 1, hardenErr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := serve(ctx, environ, o, hardening, stderr); err != nil {
		return fail(stderr, 1, err)
	}
	return 0
}

func fail(stderr io.Writer, status int, err error) int {
	fmt.Fprintln(stderr, "vigild:", err)
	return status
}

func serve(ctx context.Context, environ []string, o options, hardening guard.Hardening, stderr io.Writer) error {
	place, err := paths.FromEnviron(environ)
	if err != nil {
		return err
	}
	conf, err := config.Load(place)
	if err != nil {
		return err
	}
	log := stderr
	if o.logFile != "" {
		if log, err = logfile.New(os.Stderr, o.logFile); err != nil {
			return err
		}
	}
	claim, err := serving.Take(ctx, place.State)
	if err != nil {
		return err
	}
	defer claim.Close()
	agent, control, err := listen(environ, place)
	if err != nil {
		return err
	}
	defer agent.Close()
	defer control.Close()
	if err := announce(claim, agent, control); err != nil {
		return err
	}
	self, beside, err := binaries()
	if err != nil {
		return err
	}
	places := &ask.Places{Own: environ}
	if manager, err := systemd.Find(environ); err == nil {
		places.Desktop = ask.FromManager(environ, manager.Environment)
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	d, err := daemon.New(daemon.Options{
		Paths: place, Config: conf, Exe: self, Opener: opener.Hold(beside("vigil-opener")), LogFile: o.logFile, Hardening: hardening,
		Asker: ask.Hold(beside("vigilctl")), Places: places, Prompter: daemon.NewPrompter(environ),
		Presence: logind.New(environ, os.Getuid(), logger), Log: logger,
	})
	if err != nil {
		return err
	}
	defer onUSR1(ctx, d)()
	defer context.AfterFunc(ctx, func() { tellManager(logger, sdnotify.SdNotifyStopping) })()
	return d.Run(ctx, agent, control, func() {
		ready(o.readyFD)
		tellManager(logger, sdnotify.SdNotifyReady)
	})
}

// tellManager sends a state to the service manager that started this process, if one
// did that waits for it (sd_notify(3)).
func tellManager(log *slog.Logger, state string) {
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		log.Warn("the service manager can't be told", "state", state, "err", err)
	}
}

// listen opens both sockets, or uses those that a service manager passed: named
// "agent" and "control", or a single one for the agent.
func listen(environ []string, place paths.Paths) (agent, control *unixsock.Listener, err error) {
	passed, err := unixsock.Activated(environ, os.Getpid())
	if err != nil {
		return nil, nil, err
	}
	for _, l := range passed {
		switch {
		case l.Name() == "control" && control == nil:
			control = l
		case agent == nil && (l.Name() == "agent" || len(passed) == 1):
			agent = l
		default:
			return nil, nil, fmt.Errorf("use socket %q from the service manager: want FileDescriptorName=agent and control", l.Name())
		}
	}
	if agent == nil {
		if agent, err = unixsock.Listen(place.AgentSocket(), unixsock.Options{}); err != nil {
			return nil, nil, err
		}
	}
	if control == nil {
		if control, err = unixsock.Listen(place.ControlSocket(), unixsock.Options{}); err != nil {
			return nil, nil, errors.Join(err, agent.Close())
		}
	}
	return agent, control, nil
}

// announce tells vigilctl where the sockets are, if they have their usual names.
func announce(claim *serving.Claim, agent, control *unixsock.Listener) error {
	p := paths.Paths{Runtime: filepath.Dir(control.Path())}
	if agent.Path() != p.AgentSocket() || control.Path() != p.ControlSocket() {
		p.Runtime = "" // a service manager chose them
	}
	return claim.Announce(p.Runtime)
}

// onUSR1 removes the keys that ssh-add added at each SIGUSR1, as ssh-agent does
// since OpenSSH 10.0, until the function it returns is called.
func onUSR1(ctx context.Context, d *daemon.Daemon) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-signals:
				d.DropAdded(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		cancel()
		done.Wait()
	}
}

// binaries returns the path that starts a keeper, and that of another program of Vigil's,
// which is in this program's folder.
func binaries() (self string, beside func(name string) string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("find this program: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", nil, fmt.Errorf("find this program: %w", err)
	}
	self = exe
	if runtime.GOOS == "linux" {
		self = "/proc/self/exe" // the running program, even after an upgrade on disk
	}
	return self, func(name string) string { return filepath.Join(filepath.Dir(exe), name) }, nil
}

// ready tells the process that started the daemon that it is serving.
func ready(fd int) {
	if fd < 0 {
		return
	}
	_, _ = unix.Write(fd, []byte{'\n'})
	_ = unix.Close(fd)
}
