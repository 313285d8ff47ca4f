package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"vigil/internal/durable"

	"vigil/internal/paths"
)

// Login is where Vigil is turned on: the manager, and the files of the user that matter.
// Look fills in what the manager says.
type Login struct {
	Manager *Manager
	Record  string // the file that says what Enable changed
	Socket  string // the agent's, absolute

	env map[string]string // the manager's
}

// maxRecord is the largest record that is read, in bytes.
const maxRecord = 64 << 10

// record is what Enable changed, or was about to: it is written first, so that Disable can
// undo what an interrupted Enable has done.
type record struct {
	Masked      []masked `json:"masked"`
	Hidden      bool     `json:"hidden"`      // gnome-keyring's agent, in autostart
	Environment string   `json:"environment"` // the manager's SSH_AUTH_SOCK before; "": none
	Text        string   `json:"text"`        // of the file of environment.d, by which it is known again
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
	// Forwarded is set if that is an agent that ssh has forwarded and that answers.
	Forwarded bool `json:"forwarded"`
	// NewLogin is the SSH_AUTH_SOCK of a manager that starts at the next login, or "";
	// NextLogin is what to do if it isn't Vigil's.
	NewLogin  string `json:"new_login"`
	NextLogin string `json:"new_login_next,omitempty"`
	// Changed is the path of the file of environment.d if it isn't as Enable writes it.
	Changed string `json:"changed_file,omitempty"`
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
	if l.env, err = l.Manager.Environment(ctx); err != nil {
		return nil, err
	}
	if units[0].Listen != "" {
		l.Socket = units[0].Listen
	}
	s := &State{Ours: units[:3], Others: []Unit{}, Keyring: l.keyring(), Environment: l.env[paths.SocketVariable]}
	for _, u := range units[3:] {
		// Enabled units run. One that nobody enables runs if a session started it.
		if u.on() && u.File != "masked" {
			s.Others = append(s.Others, u)
		}
	}
	s.Forwarded = Forwarded(l.Getenv, l.Socket)
	by := ""
	if s.NewLogin, by = newLogin(ctx, l.env, generatorFolders); s.NewLogin != l.Socket {
		s.NextLogin = nextLogin(by)
	}
	r, recorded, err := l.recorded()
	s.Recorded = recorded
	ours, missing := holds(l.file(), l.text())
	written, _ := holds(l.file(), r.Text)
	if !ours && !written && !errors.Is(missing, fs.ErrNotExist) {
		s.Changed = l.file()
	}
	return s, err
}

// Getenv returns a variable of the manager's environment, as Look found it.
func (l *Login) Getenv(name string) string { return l.env[name] }

// forwardedPatience is how long a forwarded agent's socket may take to accept.
const forwardedPatience = time.Second

// Forwarded reports whether SSH_AUTH_SOCK of an environment is an agent that ssh has
// forwarded and that answers: its owner chose it for this login. ours is Vigil's socket.
func Forwarded(getenv func(string) string, ours string) bool {
	socket := getenv(paths.SocketVariable)
	if getenv("SSH_CONNECTION") == "" || socket == "" || socket == ours {
		return false
	}
	conn, err := net.DialTimeout("unix", socket, forwardedPatience)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Enable turns Vigil on, and the other agents of s off, which Look returned. If it fails or
// is interrupted, Disable undoes what was done, and Enable can be run again. A forwarded
// agent keeps its place in the manager's environment.
func (l *Login) Enable(ctx context.Context, s *State) error {
	r, _, err := l.recorded()
	if err != nil {
		return err
	}
	if s.Environment != l.Socket {
		r.Environment = s.Environment
	}
	r.Text = l.text()
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
	if !s.Forwarded {
		if err := l.Manager.Setenv(ctx, paths.SocketVariable, l.Socket); err != nil {
			return err
		}
	}
	return l.Manager.Run(ctx, "enable", "--now", AgentSocket, ControlSocket)
}

// Disable turns Vigil off, which ends a daemon that the manager started, and undoes what
// Enable changed, but for what was changed again since. s is what Look returned; Vigil's
// units may have been uninstalled. It returns the units of other agents that are on again.
func (l *Login) Disable(ctx context.Context, s *State) (back []string, err error) {
	r, _, err := l.recorded()
	if err != nil {
		return nil, err
	}
	if s.Installed() {
		if err := l.Manager.Run(ctx, "disable", "--now", AgentSocket, ControlSocket); err != nil {
			return nil, err
		}
		if err := l.Manager.Run(ctx, "stop", Service); err != nil {
			return nil, err
		}
	}
	if err := remove(l.file(), r.Text); err != nil {
		return nil, err
	}
	if err := l.unset(ctx, r.Environment); err != nil {
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

// unset gives the manager's variable back to the agent that had it, if that is there and
// Vigil has it now.
func (l *Login) unset(ctx context.Context, before string) error {
	if err := l.Manager.Run(ctx, "daemon-reload"); err != nil { // which reads environment.d again
		return err
	}
	env, err := l.Manager.Environment(ctx)
	if err != nil || env[paths.SocketVariable] != l.Socket {
		return err
	}
	if info, err := os.Stat(before); err != nil || info.Mode().Type() != fs.ModeSocket {
		before = ""
	}
	return l.Manager.Setenv(ctx, paths.SocketVariable, before)
}

// unmask brings back the units that are still masked. One that doesn't start, such as
// gpg-agent-ssh.socket while gpg-agent runs, starts at the next login.
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
			if err := l.Manager.Run(ctx, "start", was.Unit); err != nil && ctx.Err() != nil {
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
func (l *Login) file() string { return filepath.Join(l.config(), "environment.d", "60-vigil.conf") }

// config returns the folder that new managers and desktops look into, which a shell's
// XDG_CONFIG_HOME needn't be.
func (l *Login) config() string {
	if dir := l.env["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(l.env["HOME"], ".config")
}

func (l *Login) text() string {
	return "# Written by `vigilctl service enable`; `vigilctl service disable` removes it.\n" + paths.SocketVariable + "=" + l.Socket + "\n"
}

// GNOME Keyring's SSH agent is started by a file of the system, which one of the user's
// with the same name hides (the Desktop Application Autostart Specification).
const (
	keyringDesktop = "gnome-keyring-ssh.desktop"
	systemDesktops = "/etc/xdg/autostart"
	hidden         = "[Desktop Entry]\nType=Application\nName=SSH Key Agent\nHidden=true\n"
)

func (l *Login) autostart() string { return filepath.Join(l.config(), "autostart", keyringDesktop) }

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
