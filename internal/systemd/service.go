package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vigil/internal/durable"
)

// Login is where Vigil is turned on: the manager, and the files of the user that matter.
type Login struct {
	Manager *Manager
	Socket  string // the agent's, absolute
	Config  string // the user's folder of configuration, as XDG_CONFIG_HOME says
	Record  string // the file that says what Enable changed
}

// maxRecord is the largest record that is read, in bytes.
const maxRecord = 64 << 10

// record is what Enable changed, or was about to: it is written first, so that Disable can
// undo what an interrupted Enable has done.
type record struct {
	Masked      []masked `json:"masked"`
	Hidden      bool     `json:"hidden"`      // gnome-keyring's agent, in autostart
	Environment string   `json:"environment"` // the manager's SSH_AUTH_SOCK before; "": none
}

type masked struct {
	Unit   string `json:"unit"`
	Active bool   `json:"active"` // it ran
}

// State is what there is.
type State struct {
	Ours   []Unit `json:"ours"`   // AgentSocket, ControlSocket, Service
	Others []Unit `json:"others"` // of other agents, those that are on
	// Keyring is set if GNOME Keyring starts its SSH agent with a graphical session.
	Keyring bool `json:"gnome_keyring"`
	// Environment is the manager's SSH_AUTH_SOCK, or "".
	Environment string `json:"environment"`
	// File is set if environment.d has Vigil's file: new managers have the variable.
	File bool `json:"environment_file"`
	// Recorded is set if Enable has changed things that Disable can undo.
	Recorded bool `json:"recorded"`
}

// Enabled reports whether logins start both sockets.
func (s *State) Enabled() bool { return s.Ours[0].File == "enabled" && s.Ours[1].File == "enabled" }

// Installed reports whether the manager knows Vigil's units.
func (s *State) Installed() bool { return s.Ours[0].There && s.Ours[1].There && s.Ours[2].There }

// Displaced names the other agents that are on, which Enable turns off.
func (s *State) Displaced() (names []string) {
	for _, u := range s.Others {
		names = append(names, u.Name)
	}
	if s.Keyring {
		names = append(names, "GNOME Keyring's SSH agent")
	}
	return names
}

// Look returns the state. The error is ErrNone if no manager runs.
func (l *Login) Look(ctx context.Context) (*State, error) {
	units, err := l.Manager.Units(ctx, append([]string{AgentSocket, ControlSocket, Service}, others...)...)
	if err != nil {
		return nil, err
	}
	s := &State{Ours: units[:3], Others: []Unit{}, Keyring: l.keyring()}
	for _, u := range units[3:] {
		// Enabled units run. One that nobody enables runs if a session started it.
		if u.on() && u.File != "masked" {
			s.Others = append(s.Others, u)
		}
	}
	if s.Environment, err = l.Manager.Getenv(ctx, Variable); err != nil {
		return nil, err
	}
	s.File, _ = holds(l.file(), l.text())
	_, recorded, err := l.recorded()
	s.Recorded = recorded
	return s, err
}

// Enable turns Vigil on, and the other agents of s off, which Look returned. If it fails or
// is interrupted, Disable undoes what was done, and Enable can be run again.
func (l *Login) Enable(ctx context.Context, s *State) error {
	r, recorded, err := l.recorded()
	if err != nil {
		return err
	}
	if !recorded && s.Environment != l.Socket {
		r.Environment = s.Environment
	}
	for _, u := range s.Others {
		r.Masked = append(r.Masked, masked{u.Name, u.Active})
	}
	r.Hidden = r.Hidden || s.Keyring
	if err := l.write(r); err != nil {
		return err
	}
	for _, u := range s.Others {
		if err := l.Manager.Run(ctx, "mask", "--now", u.Name); err != nil {
			return err
		}
	}
	if s.Keyring {
		if err := create(l.autostart(), hidden); err != nil {
			return err
		}
	}
	if err := create(l.file(), l.text()); err != nil {
		return err
	}
	if err := l.Manager.Setenv(ctx, Variable, l.Socket); err != nil {
		return err
	}
	return l.Manager.Run(ctx, "enable", "--now", AgentSocket, ControlSocket)
}

// Disable turns Vigil off, which ends a daemon that the manager started, and undoes what
// Enable changed, but for what was changed again since. It returns the units of other
// agents that are on again.
func (l *Login) Disable(ctx context.Context) (back []string, err error) {
	r, _, err := l.recorded()
	if err != nil {
		return nil, err
	}
	if err := l.Manager.Run(ctx, "disable", "--now", AgentSocket, ControlSocket); err != nil {
		return nil, err
	}
	if err := l.Manager.Run(ctx, "stop", Service); err != nil {
		return nil, err
	}
	if now, err := l.Manager.Getenv(ctx, Variable); err != nil {
		return nil, err
	} else if now == l.Socket {
		if err := l.Manager.Setenv(ctx, Variable, r.Environment); err != nil {
			return nil, err
		}
	}
	if err := remove(l.file(), l.text()); err != nil {
		return nil, err
	}
	if r.Hidden {
		if err := remove(l.autostart(), hidden); err != nil {
			return nil, err
		}
	}
	if back, err = l.unmask(ctx, r.Masked); err != nil {
		return back, err
	}
	if err := os.Remove(l.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return back, fmt.Errorf("remove record: %w", err)
	}
	return back, nil
}

// unmask brings back the units that are still masked.
func (l *Login) unmask(ctx context.Context, list []masked) (back []string, err error) {
	for _, was := range list {
		now, err := l.Manager.Units(ctx, was.Unit)
		if err != nil {
			return back, err
		}
		// It does nothing if the user has unmasked the unit.
		if err := l.Manager.Run(ctx, "unmask", was.Unit); err != nil {
			return back, err
		}
		if now[0].File != "masked" {
			continue
		}
		if was.Active {
			if err := l.Manager.Run(ctx, "start", was.Unit); err != nil {
				return back, err
			}
		}
		back = append(back, was.Unit)
	}
	return back, nil
}

// recorded reads the record.
func (l *Login) recorded() (r record, there bool, err error) {
	text, err := durable.ReadFile(l.Record, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, true, fmt.Errorf("read what was changed: %w", err)
	}
	return r, true, nil
}

func (l *Login) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(l.Record), 0o700); err != nil {
		return err
	}
	return durable.Replace(l.Record, append(text, '\n'), durable.Options{})
}

// file is read by each new manager of the user (environment.d(5)).
func (l *Login) file() string { return filepath.Join(l.Config, "environment.d", "60-vigil.conf") }

func (l *Login) text() string {
	return "# Written by `vigilctl service enable`; `vigilctl service disable` removes it.\n" + Variable + "=" + l.Socket + "\n"
}

// GNOME Keyring's SSH agent is started by a file of the system, which one of the user's
// with the same name hides (the Desktop Application Autostart Specification).
const (
	keyringDesktop = "gnome-keyring-ssh.desktop"
	systemDesktops = "/etc/xdg/autostart"
	hidden         = "[Desktop Entry]\nType=Application\nName=SSH Key Agent\nHidden=true\n"
)

func (l *Login) autostart() string { return filepath.Join(l.Config, "autostart", keyringDesktop) }

// keyring reports whether GNOME Keyring starts its agent, and no file of the user's has
// changed that.
func (l *Login) keyring() bool {
	_, err := os.Stat(filepath.Join(systemDesktops, keyringDesktop))
	_, own := os.Lstat(l.autostart())
	return err == nil && errors.Is(own, fs.ErrNotExist)
}

// create makes a file of the user's that says text, unless it does.
func create(path, text string) error {
	if same, err := holds(path, text); same || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.Replace(path, []byte(text), durable.Options{})
}

// remove removes a file that says what create wrote.
func remove(path, text string) error {
	same, err := holds(path, text)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !same {
		return nil
	}
	if err == nil {
		err = durable.Remove(path)
	}
	return err
}

// holds reports whether a file says text.
func holds(path, text string) (bool, error) {
	is, err := durable.ReadFile(path, maxRecord)
	return err == nil && bytes.Equal(is, []byte(text)), err
}
