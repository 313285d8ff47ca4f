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
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/internal/buildid"
	"vigil/internal/config"
	"vigil/internal/daemon"
	"vigil/internal/guard"
	"vigil/internal/paths"
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
	flags.StringVar(&o.logFile, "log-file", "", "name of the file that standard error goes to, for status")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// front runs the daemon: harden, flags, paths, config, sockets, serve. It
// returns the exit status.
func front(args, environ []string, stderr io.Writer) int {
	hardening, hardenErr := guard.Harden()
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
	agent, err := unixsock.Listen(place.AgentSocket(), unixsock.Options{})
	if err != nil {
		return err
	}
	defer agent.Close()
	control, err := unixsock.Listen(place.ControlSocket(), unixsock.Options{})
	if err != nil {
		return err
	}
	defer control.Close()
	self, opener, err := binaries()
	if err != nil {
		return err
	}
	d, err := daemon.New(daemon.Options{
		Paths: place, Config: conf, Exe: self, Opener: opener, LogFile: o.logFile, Hardening: hardening,
		Log: slog.New(slog.NewTextHandler(stderr, nil)),
	})
	if err != nil {
		return err
	}
	return d.Run(ctx, agent, control, func() { ready(o.readyFD) })
}

// binaries returns what starts a keeper, and the path of vigil-opener beside
// this program.
func binaries() (self, opener string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("find this program: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", "", fmt.Errorf("find this program: %w", err)
	}
	self = exe
	if runtime.GOOS == "linux" {
		self = "/proc/self/exe" // what runs, even after an upgrade on disk
	}
	return self, filepath.Join(filepath.Dir(exe), "vigil-opener"), nil
}

// ready tells whoever started the daemon that it can be used.
func ready(fd int) {
	if fd < 0 {
		return
	}
	_, _ = unix.Write(fd, []byte{'\n'})
	_ = unix.Close(fd)
}
