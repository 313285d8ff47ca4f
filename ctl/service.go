package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/doctor"
	"vigil/internal/paths"
	"vigil/internal/serving"
	"vigil/internal/systemd"
)

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Have systemd or launchd start Vigil",
		Long: `Turn Vigil on and off as a service of systemd's manager for this user, or of macOS's
launchd. On, SSH_AUTH_SOCK leads to it in services and graphical sessions. systemd
starts it when a program uses its sockets, launchd at the login. Without such a manager, ` + "`vigilctl up`" + ` starts the daemon and
` + "`vigilctl env`" + ` sets the variable in a shell.`,
		Example: `  vigilctl service enable`,
	}
	return a.under(cmd, a.serviceEnable(), a.serviceDisable(), a.serviceRestart(), a.serviceStatus())
}

// login returns where Vigil is turned on as a service.
func (a *app) login() (*systemd.Login, error) {
	m, err := systemd.Find(a.environ)
	if err != nil {
		return nil, serviceError(err)
	}
	return &systemd.Login{
		Manager: m, Socket: a.paths.AgentSocket(), Record: a.paths.ServiceRecord(),
	}, nil
}

// look returns the service's state, and refuses where Vigil's units aren't installed.
func (a *app) look(ctx context.Context) (*systemd.Login, *systemd.State, error) {
	l, err := a.login()
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Look(ctx)
	if err != nil {
		return nil, nil, serviceError(err)
	}
	if !s.Installed() {
		return nil, nil, control.Errorf(control.CodeFailed, "Install Vigil's package, or from its source: sudo make install",
			"systemd's user manager doesn't know Vigil's units")
	}
	if systemd.Forwarded(a.env, l.Socket) && a.env(paths.SocketVariable) == s.Environment { // a desktop imported it
		s.Forwarded = true
	}
	return l, s, nil
}

// nextUndo is what to do about an enable that did a part.
const nextUndo = "What was done so far is undone by `vigilctl service disable`."

// changedFile reports a file that enable would write over.
func changedFile(path string) error {
	return control.Errorf(control.CodeExists, "Move it away, or remove it. Nothing was changed.", "%s isn't Vigil's, or was changed", path)
}

// notAService reports a daemon that isn't the service manager's to restart.
func notAService() error {
	return control.Errorf(control.CodeFailed, "Turn it on: vigilctl service enable. A daemon without it restarts by `vigilctl down` and `vigilctl up`.", "vigild doesn't run as a service")
}

// serviceError returns what to tell of a failed call of the manager.
func serviceError(err error) error {
	if errors.Is(err, systemd.ErrNone) {
		return control.Errorf(control.CodeFailed, "Without one, `vigilctl up` starts the daemon, and `vigilctl env` sets SSH_AUTH_SOCK in a shell.", "%v", err)
	}
	if e := new(control.Error); errors.As(err, &e) {
		return err
	}
	return control.Errorf(control.CodeFailed, nextUndo, "%v", err)
}

// ask asks a question, unless the command has --yes.
func (a *app) ask(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	t, err := a.openTerminal()
	if err != nil {
		return control.Errorf(control.CodeUsage, "Give --yes to do it without being asked. Nothing was changed.", "there is no terminal to ask: %s", question)
	}
	defer t.close()
	agreed, err := t.confirm(ctx, question)
	if err == nil && !agreed {
		err = control.Errorf(control.CodeInterrupted, "", "nothing was changed")
	}
	return err
}

func (a *app) serviceEnable() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "enable [--yes]",
		Short: "Turn the service on, and other agents that systemd starts off",
		Long: `Turn the service on, now and at each login, and point SSH_AUTH_SOCK to it for services
and graphical sessions. Other SSH agents that logins start are named, and turned off if
you agree, as is the agent that the variable leads to now: ` + "`vigilctl service disable`" + `
brings them back. A shell keeps the agent that it has, and a forwarded agent its place; ` + "`vigilctl env`" + ` is for start-up files of shells.`,
		Example: `  vigilctl service enable`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.goos == macOS {
				return a.enableAgent(cmd.Context(), yes)
			}
			l, s, err := a.look(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.enable(cmd.Context(), l, s, yes); err != nil {
				return serviceError(err)
			}
			after, err := l.Look(cmd.Context())
			if err != nil {
				return serviceError(err)
			}
			if a.env(paths.SocketVariable) != l.Socket {
				a.say("New logins use it. This shell: eval \"$(vigilctl env)\"")
			}
			return a.print(after, func(w io.Writer) { a.printService(w, l, after) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}

// enable says what it changes, asks, and does it.
func (a *app) enable(ctx context.Context, l *systemd.Login, s *systemd.State, yes bool) error {
	if s.Changed != "" {
		return changedFile(s.Changed)
	}
	if theirs, err := paths.FromLookup(l.Getenv); err != nil || theirs.State != a.paths.State || theirs.Config != a.paths.Config || theirs.Data != a.paths.Data {
		return control.Errorf(control.CodeRefused, "Set the XDG variables for services too, in ~/.config/environment.d, or unset them in this shell. Nothing was changed.",
			"a service would use other folders than this shell, which has its state in %s", a.paths.State)
	}
	displaced := s.Displaced()
	if len(displaced) > 0 {
		a.say("This turns off %s, until `vigilctl service disable`. What runs of them ends, and forgets keys that were added to it.", strings.Join(displaced, ", "))
	}
	taken := s.Environment != "" && s.Environment != l.Socket && !s.Forwarded
	if taken {
		a.say("%s in services and graphical sessions leads to %s, served by %s. It will lead to Vigil.", paths.SocketVariable, s.Environment, doctor.ServedBy(s.Environment))
	}
	if s.Forwarded {
		a.say("%s in services leads to a forwarded agent, which keeps its place there until you log out.", paths.SocketVariable)
	}
	outside, err := a.outside(ctx, s)
	if err != nil {
		return err
	}
	if outside != 0 {
		a.say("It stops the vigild that runs by itself (process %d), which locks everything.", outside)
	}
	if len(displaced) > 0 || taken || outside != 0 {
		if err := a.ask(ctx, yes, "Turn the service on?"); err != nil {
			return err
		}
	}
	if outside != 0 {
		if _, err := a.stop(ctx); err != nil && codeOf(err) != control.CodeNoDaemon {
			return err
		}
	}
	return l.Enable(ctx, s)
}

// outside returns the process of a daemon that the manager didn't start, or 0: systemd
// would take its sockets away from it, or start a second one.
func (a *app) outside(ctx context.Context, s *systemd.State) (pid int, err error) {
	if place, ok := serving.Find(a.paths.State); ok && place.PID != s.Ours[2].PID {
		return place.PID, nil
	}
	if s.Ours[0].Active || s.Ours[1].Active {
		return 0, nil
	}
	c, err := a.dial(ctx)
	if codeOf(err) == control.CodeNoDaemon {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer c.Close()
	v, err := control.Do(ctx, c, &control.VersionRequest{})
	if err != nil {
		return 0, err
	}
	return v.PID, nil
}

func (a *app) serviceDisable() *cobra.Command {
	return &cobra.Command{
		Use:   "disable",
		Short: "Turn the service off, and undo what enable changed",
		Long: `Turn the service off, which ends the daemon and locks everything, and undo what
` + "`vigilctl service enable`" + ` changed: other agents that it turned off come back. What was
changed again since stays. Vaults and settings stay.`,
		Example: `  vigilctl service disable`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.goos == macOS {
				return a.disableAgent(cmd.Context())
			}
			l, err := a.login()
			if err != nil {
				return err
			}
			s, err := l.Look(cmd.Context())
			if err != nil {
				return serviceError(err)
			}
			back, err := l.Disable(cmd.Context(), s)
			if err != nil {
				return serviceError(err)
			}
			if back == nil {
				back = []string{}
			}
			return a.print(map[string][]string{"back": back}, func(w io.Writer) {
				printf(w, "the service is off\n")
				for _, unit := range back {
					printf(w, "%s is on again\n", unit)
				}
			})
		},
	}
}

func (a *app) serviceRestart() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "restart [--yes]",
		Short: "Restart the daemon, after an upgrade say",
		Long: `Restart the daemon that runs as a service, so that the installed build runs. This locks
every vault and drops the keys that ssh-add added: the command names them and asks.`,
		Example: `  vigilctl service restart`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.goos == macOS {
				return a.restartAgent(cmd.Context(), yes)
			}
			l, s, err := a.look(cmd.Context())
			if err != nil {
				return err
			}
			if !s.Ours[0].Active || !s.Ours[1].Active {
				return notAService()
			}
			if err := a.warnRestart(cmd.Context(), s.Ours[2].Active, yes); err != nil {
				return err
			}
			if err := l.Manager.Run(cmd.Context(), "restart", systemd.Service); err != nil {
				return serviceError(err)
			}
			return a.print(struct{}{}, func(w io.Writer) { printf(w, "vigild was restarted, and is locked\n") })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}

// warnRestart says what a restart ends, and asks. A daemon of another build, or one that
// doesn't answer, doesn't tell.
func (a *app) warnRestart(ctx context.Context, runs, yes bool) error {
	if !runs {
		return nil
	}
	st, err := call(ctx, a, &control.StatusRequest{})
	switch {
	case err != nil:
		a.say("It can't be asked what is unlocked: %v", err)
	default:
		ends := restartEnds(st)
		if len(ends) == 0 {
			return nil
		}
		a.say("This ends: %s.", strings.Join(ends, ", "))
	}
	return a.ask(ctx, yes, "Restart vigild?")
}

// restartEnds names what a restart takes away.
func restartEnds(st *control.StatusReply) (ends []string) {
	for _, v := range st.Vaults {
		if v.State == control.VaultUnlocked {
			ends = append(ends, "unlocked vault "+v.Name)
		}
	}
	if st.AddedKeys > 0 {
		ends = append(ends, "the keys that ssh-add added")
	}
	return ends
}

func (a *app) serviceStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the service, and who owns SSH_AUTH_SOCK",
		Long: `Show whether the service is on, which other agents logins start, and where SSH_AUTH_SOCK
leads in this shell, in what systemd's user manager starts, and at the next login.`,
		Example: `  vigilctl service status --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.goos == macOS {
				return a.showAgent(cmd.Context())
			}
			l, s, err := a.look(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) { a.printService(w, l, s) })
		},
	}
}

// printService shows a state, and what to do where something leads elsewhere.
func (a *app) printService(w io.Writer, l *systemd.Login, s *systemd.State) {
	switch {
	case !s.Enabled():
		printf(w, "off: `vigilctl service enable` turns it on\n")
	case !s.Ours[0].Active || !s.Ours[1].Active:
		printf(w, "on, but its sockets aren't there: systemctl --user restart %s %s\n", systemd.AgentSocket, systemd.ControlSocket)
	case s.Ours[2].Active:
		printf(w, "on, and vigild runs (process %d)\n", s.Ours[2].PID)
	default:
		printf(w, "on, and vigild starts when someone uses it\n")
	}
	for _, name := range s.Displaced() {
		printf(w, "another agent that logins start: %s\n", name)
	}
	printOwners(w, l.Socket, []owner{
		{"a new login", s.NewLogin, s.NextLogin},
		{"services and graphical sessions", s.Environment, "systemctl --user set-environment " + paths.SocketVariable + "=" + l.Socket},
		{"this shell", a.env(paths.SocketVariable), `eval "$(vigilctl env)"`},
	})
}

// owner is where SSH_AUTH_SOCK leads in one of the places that programs have it from.
type owner struct{ where, socket, next string }

// printOwners shows who owns SSH_AUTH_SOCK, and what to do where that isn't Vigil's socket.
func printOwners(w io.Writer, socket string, owners []owner) {
	for _, o := range owners {
		switch {
		case o.socket == socket:
			printf(w, "%s in %s leads to Vigil\n", paths.SocketVariable, o.where)
		case o.socket == "":
			printf(w, "%s isn't set in %s: %s\n", paths.SocketVariable, o.where, o.next)
		default:
			printf(w, "%s in %s leads to %s, not to Vigil: %s\n", paths.SocketVariable, o.where, o.socket, o.next)
		}
	}
}
