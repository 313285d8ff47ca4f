// Package systemd has the systemd manager of the user's services start Vigil, and undoes
// exactly that. It speaks to the manager through systemctl.
//
//	manager.go   what the manager says of units and of its environment
//	login.go     what the system's generators give a new login
//	service.go   what turning Vigil on changes, the record of it, and its undoing
package systemd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"vigil/internal/paths"

	"vigil/internal/program"
)

// The units of Vigil.
const (
	AgentSocket   = "vigild.socket"
	ControlSocket = "vigild-control.socket"
	Service       = "vigild.service"
)

// others are units of other SSH agents, each of which sets SSH_AUTH_SOCK for logins or has
// another program do so: of GnuPG, GCR and OpenSSH.
var others = []string{"gpg-agent-ssh.socket", "gcr-ssh-agent.socket", "ssh-agent.socket", "ssh-agent.service"}

// ErrNone reports that no systemd manager runs for the user, or that this system has none.
var ErrNone = errors.New("no systemd manager of the user's services runs here")

// Manager is the user's manager.
type Manager struct{ systemctl *program.Program }

// Find returns the manager of the user with an environment. The error is ErrNone if
// systemctl isn't on the PATH; whether a manager runs is known by the first call.
func Find(environ []string) (*Manager, error) {
	systemctl, err := program.Find("systemctl", environ)
	if err != nil {
		return nil, ErrNone
	}
	return &Manager{systemctl}, nil
}

// Unit is what the manager knows of a unit.
type Unit struct {
	Name   string `json:"name"`
	There  bool   `json:"there"`  // it is installed
	Active bool   `json:"active"` // it runs, or listens
	// File is the state of the unit file: "enabled", "disabled", "static", "masked", …
	File string `json:"file"`
	PID  int    `json:"pid,omitempty"` // of a service that runs
	// Listen is the path of a socket, and Program what a service starts.
	Listen  string `json:"listen,omitempty"`
	Program string `json:"program,omitempty"`
}

// on reports whether a login starts the unit, or it was started already.
func (u *Unit) on() bool { return u.There && (u.Active || u.File == "enabled") }

// Units returns what the manager knows of units, in their order.
func (m *Manager) Units(ctx context.Context, names ...string) ([]Unit, error) {
	out, err := m.run(ctx, append([]string{"show", "--property=LoadState,ActiveState,UnitFileState,MainPID,Listen,ExecStart"}, names...)...)
	if err != nil {
		return nil, err
	}
	blocks := strings.Split(strings.TrimSpace(out), "\n\n")
	if len(blocks) != len(names) {
		return nil, fmt.Errorf("ask for %d units: the manager tells of %d", len(names), len(blocks))
	}
	units := make([]Unit, len(names))
	for i, block := range blocks {
		properties := variables(block)
		pid, _ := strconv.Atoi(properties["MainPID"]) // sockets have none
		units[i] = Unit{
			Name: names[i], There: properties["LoadState"] == "loaded" || properties["LoadState"] == "masked",
			Active: properties["ActiveState"] == "active" || properties["ActiveState"] == "activating",
			File:   properties["UnitFileState"], PID: pid,
			Listen: strings.TrimSuffix(properties["Listen"], " (Stream)"), Program: programOf(properties["ExecStart"]),
		}
	}
	return units, nil
}

// programOf returns the path in "{ path=… ; argv[]=… ; … }".
func programOf(start string) string {
	_, rest, _ := strings.Cut(start, "path=")
	path, _, _ := strings.Cut(rest, " ;")
	return path
}

// Environment returns what the manager gives to services and to graphical sessions.
func (m *Manager) Environment(ctx context.Context) (map[string]string, error) {
	out, err := m.run(ctx, "show-environment")
	return variables(out), err
}

// Setenv sets a variable of that environment; value "" unsets it.
func (m *Manager) Setenv(ctx context.Context, name, value string) error {
	if value == "" {
		_, err := m.run(ctx, "unset-environment", name)
		return err
	}
	_, err := m.run(ctx, "set-environment", name+"="+value)
	return err
}

// variables reads lines NAME=VALUE, whose values may be quoted.
func variables(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			all[name] = unquote(value)
		}
	}
	return all
}

// unquote undoes the quotes around a value that a shell would change, "…" or $'…', which
// have a backslash before special characters.
func unquote(s string) string {
	inner := strings.TrimPrefix(s, "$")
	if len(inner) < 2 || inner[0] != '"' && inner[0] != '\'' || inner[len(inner)-1] != inner[0] {
		return s
	}
	var b strings.Builder
	for inner = inner[1 : len(inner)-1]; inner != ""; inner = inner[1:] {
		if inner[0] == '\\' && len(inner) > 1 {
			inner = inner[1:]
		}
		b.WriteByte(inner[0])
	}
	return b.String()
}

// Start is what the manager starts when someone uses Vigil.
type Start struct {
	State   string // the daemon's state folder
	Runtime string // the folder of its sockets
	Program string // path of vigild
}

// Start returns what the manager starts, or nil if Vigil's sockets are off.
func (m *Manager) Start(ctx context.Context) (*Start, error) {
	units, err := m.Units(ctx, ControlSocket, Service)
	if err != nil || !units[0].on() || units[0].Listen == "" {
		return nil, err
	}
	env, err := m.Environment(ctx)
	if err != nil {
		return nil, err
	}
	p, err := paths.FromLookup(func(name string) string { return env[name] })
	if err != nil {
		return nil, err
	}
	return &Start{State: p.State, Runtime: filepath.Dir(units[0].Listen), Program: units[1].Program}, nil
}

// Run runs a command of systemctl.
func (m *Manager) Run(ctx context.Context, args ...string) error {
	_, err := m.run(ctx, args...)
	return err
}

func (m *Manager) run(ctx context.Context, args ...string) (string, error) {
	out, err := m.systemctl.Run(ctx, append([]string{"--user", "--no-pager", "--quiet"}, args...)...)
	if err != nil && strings.Contains(err.Error(), "Failed to connect to") { // bus-util.c, bus_log_connect_error
		return "", ErrNone
	}
	return out, err
}
