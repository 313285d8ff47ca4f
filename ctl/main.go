// Command vigilctl makes, unlocks and changes vaults, and starts and stops the
// daemon that serves their keys. It talks to vigild over the control socket and
// holds no key: passphrases and key files go to the daemon's opener as file
// descriptors, unread unless a person typed them here.
//
// What people read fits the terminal that it is printed on: lines are broken at blanks,
// never within a word, a path, a fingerprint, or a command to copy (page). What goes to
// a file or a pipe, and what is for a program, isn't broken: scripts read whole lines. Nor
// is a prompt.
// Help has 80 columns everywhere.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"vigil/internal/ask"
	"vigil/internal/ask/asker"
	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/paths"
	"vigil/internal/printable"
	"vigil/internal/serving"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == ask.Role {
		os.Exit(asker.Main())
	}
	os.Exit(start())
}

func start() int {
	// SIGQUIT too: by default it dumps the stack, which may hold passphrases.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		environ: os.Environ(), tty: "/dev/tty", goos: runtime.GOOS, vigild: besideExecutable, patience: progressAfter,
	}
	if _, err := guard.Harden(); err != nil {
		a.tell("vigilctl: %s %v\n", painted{"warning:", warning}, err)
	}
	return a.run(ctx, os.Args[1:])
}

// app is one run of vigilctl: its streams, its environment and the state that all
// commands share.
type app struct {
	stdin          *os.File
	stdout, stderr io.Writer
	environ        []string
	tty            string                 // the terminal's path
	goos           string                 // runtime.GOOS, which says what manages services
	vigild         func() (string, error) // finds the daemon's program
	paths          paths.Paths
	json           bool
	several        bool          // the daemon serves several vaults, so a key's vault is named
	running        bool          // the command line was valid: later errors aren't usage errors
	started        bool          // this command started the daemon, which has done nothing yet
	drawn          *progress     // is on the terminal
	patience       time.Duration // how long work takes before its progress is shown
}

// run runs one command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	a.json = slices.Contains(args, "--json") // even if the rest can't be parsed
	root.SetArgs(markIDs(root, args))
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if a.started {
		a.undoStart(ctx)
	}
	e := control.AsError(err)
	if !a.running && e.Code == control.CodeFailed {
		e.Code = control.CodeUsage
	}
	if e.Code == control.CodeUsage && e.Next == "" {
		e = control.Errorf(e.Code, fmt.Sprintf("`%s --help` shows how.", command.CommandPath()), "%s", e.Message)
	}
	a.report(e)
	return e.Code.ExitStatus()
}

// report writes an error to stderr, as text or as JSON.
func (a *app) report(e *control.Error) {
	a.clearLine()
	if a.json {
		body := struct {
			Error *control.Error `json:"error"`
		}{e}
		writeJSON(a.stderr, body)
		return
	}
	a.tell("%s %s\n", painted{"vigilctl:", failure}, e.Message)
	for _, line := range e.Details {
		a.tell("    %s\n", line)
	}
	if e.Next != "" {
		a.tell("  %s\n", e.Next)
	}
}

func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(printable.JSON(b.Bytes()))
	return err
}

// env returns a variable's value, the last one if it is set more than once.
func (a *app) env(name string) string {
	for _, kv := range slices.Backward(a.environ) {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v
		}
	}
	return ""
}

// findDaemon takes the sockets of the daemon that runs, which was perhaps started in a
// shell with another XDG_RUNTIME_DIR.
func (a *app) findDaemon() {
	if place, ok := serving.Find(a.paths.State); ok {
		a.paths.Runtime = place.Runtime
	}
}

// dial connects to the daemon, whose questions are asked on the terminal. The
// caller closes the client.
func (a *app) dial(ctx context.Context) (*control.Client, error) {
	c, err := control.Dial(ctx, a.paths.ControlSocket())
	if err != nil {
		return nil, err
	}
	c.OnAsk = a.answer
	return c, nil
}

// call sends one request on a connection of its own.
func call[R any](ctx context.Context, a *app, req control.Request[R]) (*R, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := control.Do(ctx, c, req)
	a.several = c.Several
	return reply, err
}

// send is like call, and prints the reply.
func send[R any](ctx context.Context, a *app, req control.Request[R], human func(io.Writer, *R)) error {
	reply, err := call(ctx, a, req)
	if err != nil {
		return err
	}
	return a.print(reply, func(w io.Writer) { human(w, reply) })
}

// answer asks the user the daemon's question on the terminal.
func (a *app) answer(ctx context.Context, ask control.Ask) (control.Answer, error) {
	t, err := a.openTerminal()
	if err != nil {
		return control.Answer{}, control.Errorf(control.CodeRefused, "Run it on a terminal.", "there is nobody to ask: %s", ask.Message)
	}
	defer t.close()
	text, err := t.readLine(ctx, ask.Message+": ")
	return control.Answer{Text: text}, err
}

// codeOf returns the code of err, or "" for nil.
func codeOf(err error) control.Code {
	if err == nil {
		return ""
	}
	return control.AsError(err).Code
}
