// Package launchd has macOS's launchd run Vigil from each login on, and undoes exactly
// that. It speaks to it through launchctl(1). It is portable, so that its tests run where
// there is no launchd, with a program in launchctl's place.
package launchd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"vigil/internal/durable"
	agent "vigil/launchd"

	"vigil/internal/paths"
	"vigil/internal/program"
)

// ErrNone reports that the user has no graphical login here, whose launchd runs agents.
var ErrNone = errors.New("no launchd of a graphical login runs here")

// Login is where Vigil is turned on: launchd, and the files that matter.
type Login struct {
	Agents  string // folder of the user's LaunchAgents
	Record  string // the file that says what Enable changed
	Program string // path of vigild
	Socket  string // the agent's
	Log     string // the file that vigild's standard error goes to

	launchctl *program.Program
	domain    string
}

// State is what there is.
type State struct {
	Loaded bool `json:"loaded"` // launchd runs it at logins
	PID    int  `json:"pid,omitempty"`
	// Environment is the SSH_AUTH_SOCK of what launchd starts, or "".
	Environment string `json:"environment"`
	// Current is set if the agent's file is as Enable writes it now, and Changed is its path
	// if it isn't what an Enable wrote.
	Current bool   `json:"current"`
	Changed string `json:"changed_file,omitempty"`
}

// record is what Enable changed, or was about to: it is written first.
type record struct {
	Text        string `json:"text"`        // of the agent's file, by which it is known again
	Environment string `json:"environment"` // launchd's SSH_AUTH_SOCK before; "": none
}

// maxFile is the largest file that is read, in bytes: the record holds the agent's file.
const maxFile = 64 << 10

// Find sets up l to speak to the launchd of the user's graphical login. The error is ErrNone
// if launchctl isn't on the PATH; whether there is such a login is known by the first call.
func (l *Login) Find(environ []string) (err error) {
	if l.launchctl, err = program.Find("launchctl", environ); err != nil {
		return ErrNone
	}
	l.domain = "gui/" + strconv.Itoa(os.Getuid())
	return nil
}

func (l *Login) service() string { return l.domain + "/" + agent.Label }

func (l *Login) file() string { return filepath.Join(l.Agents, agent.Label+".plist") }

func (l *Login) text() string { return agent.Agent(l.Program, l.Socket, l.Log) }

// notLoaded is launchctl print's exit status for a service that isn't there.
const notLoaded = 113

// Look returns the state. The error is ErrNone if there is no graphical login.
func (l *Login) Look(ctx context.Context) (*State, error) {
	if _, err := l.launchctl.Run(ctx, "print", l.domain); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, ErrNone
	}
	s := &State{}
	out, err := l.launchctl.Run(ctx, "print", l.service())
	var status *exec.ExitError
	switch {
	case err == nil:
		s.Loaded, s.PID = true, pid(out)
	case !errors.As(err, &status) || status.ExitCode() != notLoaded:
		return nil, err
	}
	// For a variable that isn't set it prints nothing, whatever its status.
	if out, err = l.launchctl.Run(ctx, "getenv", paths.SocketVariable); err != nil && !errors.As(err, &status) {
		return nil, err
	}
	s.Environment = strings.TrimSuffix(out, "\n")
	r, err := l.recorded()
	if err != nil {
		return nil, err
	}
	now, err := durable.ReadFile(l.file(), maxFile)
	s.Current = err == nil && string(now) == l.text()
	if !s.Current && !errors.Is(err, fs.ErrNotExist) && (err != nil || string(now) != r.Text) {
		s.Changed = l.file()
	}
	return s, nil
}

// pid returns the process id in what print says of a service, or 0.
func pid(text string) int {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "pid = "); ok {
			n, _ := strconv.Atoi(rest)
			return n
		}
	}
	return 0
}

// Enable has launchd run Vigil, now and at each login, and point SSH_AUTH_SOCK to it. s is
// what Look returned. If it fails or is interrupted, Disable undoes what was done, and
// Enable can be run again.
func (l *Login) Enable(ctx context.Context, s *State) error {
	r, err := l.recorded()
	if err != nil {
		return err
	}
	if s.Environment != l.Socket {
		r.Environment = s.Environment
	}
	r.Text = l.text()
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for _, f := range []struct{ path, text string }{{l.Record, string(text)}, {l.file(), r.Text}} {
		if err := durable.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
		if err := durable.Replace(f.path, []byte(f.text), durable.Options{}); err != nil {
			return err
		}
	}
	if s.Loaded && !s.Current { // launchd has read what the file said before
		if _, err := l.launchctl.Run(ctx, "bootout", l.service()); err != nil {
			return err
		}
	}
	if !s.Loaded || !s.Current {
		for _, args := range [][]string{{"enable", l.service()}, {"bootstrap", l.domain, l.file()}} {
			if _, err := l.launchctl.Run(ctx, args...); err != nil {
				return err
			}
		}
	}
	return l.Start(ctx)
}

// Start starts the daemon unless it runs, and sets SSH_AUTH_SOCK.
func (l *Login) Start(ctx context.Context) error {
	_, err := l.launchctl.Run(ctx, "kickstart", l.service())
	return err
}

// Restart ends the daemon and starts it again.
func (l *Login) Restart(ctx context.Context) error {
	_, err := l.launchctl.Run(ctx, "kickstart", "-k", l.service())
	return err
}

// Disable ends the daemon and undoes what Enable changed, but for what was changed again
// since. s is what Look returned.
func (l *Login) Disable(ctx context.Context, s *State) error {
	r, err := l.recorded()
	if err != nil {
		return err
	}
	if s.Loaded {
		if _, err := l.launchctl.Run(ctx, "bootout", l.service()); err != nil {
			return err
		}
	}
	now, err := durable.ReadFile(l.file(), maxFile)
	if err == nil && string(now) == r.Text {
		err = durable.Remove(l.file())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.Environment == l.Socket {
		back := []string{"unsetenv", paths.SocketVariable}
		if info, err := os.Stat(r.Environment); err == nil && info.Mode().Type() == fs.ModeSocket {
			back = []string{"setenv", paths.SocketVariable, r.Environment}
		}
		if _, err := l.launchctl.Run(ctx, back...); err != nil {
			return err
		}
	}
	if err := durable.Remove(l.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// recorded reads the record; without one it is empty.
func (l *Login) recorded() (r record, err error) {
	text, err := durable.ReadFile(l.Record, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read what was changed: %w", err)
	}
	return r, nil
}
