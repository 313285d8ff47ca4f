package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/guard"
	"vigil/internal/ownership"
	"vigil/internal/unixsock"
)

const (
	// readyTimeout is how long vigild may take to start. It usually takes 50 ms;
	// this allows for a busy machine.
	readyTimeout = 20 * time.Second
	// logTail is how much of the log is shown if vigild doesn't start, in bytes.
	logTail = 4096
	// readyDescriptor is the number of the ready pipe's descriptor in vigild.
	readyDescriptor = 3
)

// besideExecutable finds vigild in the folder of vigilctl's own program.
func besideExecutable() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("find vigilctl's own program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "vigild"), nil
}

// ensureDaemon starts the daemon if none is running. It first checks that pass, the
// passphrase that the command needs, can be read.
func (a *app) ensureDaemon(ctx context.Context, pass *source) error {
	c, err := a.dial(ctx)
	if err == nil {
		c.Close()
		return nil
	}
	if codeOf(err) != control.CodeNoDaemon {
		return err
	}
	if err := a.canAsk(pass); err != nil {
		return err
	}
	return a.startDaemon(ctx)
}

// nextState is what to do about a state folder that can't be made or written to.
const nextState = "Move what is in its way, make the folder above it writable, or set XDG_STATE_HOME."

// startDaemon starts vigild in the background and returns once it serves. Where a service
// manager does, it is the manager that starts it.
func (a *app) startDaemon(ctx context.Context) error {
	if m := a.startsIt(ctx); m != nil {
		return a.startService(ctx, m)
	}
	if err := guard.UntracedSelf(); err != nil { // a tracer of vigilctl could trace vigild
		return control.Errorf(control.CodeRefused, "Run it without that program. Nothing was started.", "%v", err)
	}
	program, err := a.vigild()
	if err != nil {
		return err
	}
	if err := ownership.Program(program); err != nil {
		return control.Errorf(control.CodeRefused, ownership.Next(err), "%v", err)
	}
	if err := durable.MkdirAll(a.paths.State, 0o700); err != nil {
		return control.Errorf(control.CodeFailed, nextState, "make the state folder: %v", err)
	}
	log, err := os.OpenFile(a.paths.Log(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return control.Errorf(control.CodeFailed, "", "open the daemon's log: %v", err)
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return control.Errorf(control.CodeFailed, "", "read the daemon's log: %v", err)
	}
	cmd, ready, err := a.launch(program, log)
	if err != nil {
		return control.Errorf(control.CodeFailed, "", "start vigild: %v", err)
	}
	defer ready.Close()
	if err := awaitReady(ctx, ready); err != nil {
		_ = cmd.Process.Kill() // it has no clients and no keys yet
		_ = cmd.Wait()
		if control.AsError(err).Code == control.CodeInterrupted {
			return err
		}
		return a.startFailed(ctx, err, lastLines(log, before))
	}
	a.started = true
	return cmd.Process.Release()
}

// undoStart stops the daemon that this command started and then found no use for.
func (a *app) undoStart(ctx context.Context) {
	a.started = false
	if _, err := a.stop(context.WithoutCancel(ctx)); err != nil && codeOf(err) != control.CodeNoDaemon {
		a.tell("vigilctl: the daemon that was started still runs: %v\n", err)
	}
}

// launch starts the program in a new session and returns the read end of its
// ready pipe, which the caller closes.
func (a *app) launch(program string, log *os.File) (*exec.Cmd, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	unixsock.CloseOnExec() // the daemon must not inherit vigilctl's descriptors
	cmd := exec.Command(program, "--ready-fd", fmt.Sprint(readyDescriptor), "--log-file", log.Name())
	cmd.Env = a.environ
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = r.Close()
		return nil, nil, err
	}
	return cmd, r, nil
}

// awaitReady waits for the byte that vigild writes once it serves.
func awaitReady(ctx context.Context, ready *os.File) error {
	_ = ready.SetReadDeadline(time.Now().Add(readyTimeout)) // first, because ctx may already have ended
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })()
	_, err := io.ReadFull(ready, make([]byte, 1))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it isn't ready after %s", readyTimeout)
	default:
		return errors.New("it ended before it was ready")
	}
}

// startFailed returns why vigild didn't start, or nil if another one serves by now.
func (a *app) startFailed(ctx context.Context, cause error, said string) error {
	a.findDaemon()
	if c, err := a.dial(ctx); err == nil {
		c.Close()
		return nil
	}
	next := "Its log is " + a.paths.Log()
	if said == "" {
		return control.Errorf(control.CodeNoDaemon, next, "vigild didn't start: %v", cause)
	}
	return control.Errorf(control.CodeNoDaemon, next, "vigild didn't start: %v: %s", cause, said)
}

// lastLines returns what was logged after an offset, at most logTail bytes of it, on one
// line.
func lastLines(log *os.File, from int64) string {
	if size, err := log.Seek(0, io.SeekEnd); err == nil && size-from > logTail {
		from = size - logTail
	}
	b, _ := io.ReadAll(io.NewSectionReader(log, from, logTail))
	said := strings.TrimPrefix(strings.TrimSpace(string(b)), "vigild: ")
	return strings.ReplaceAll(said, "\n", "; ")
}
