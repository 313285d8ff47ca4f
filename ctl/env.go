package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/printable"
	"vigil/internal/systemd"
	"vigil/internal/unixsock"

	"vigil/internal/paths"
)

func (a *app) envCommand() *cobra.Command {
	var shell string
	var force, hook bool
	cmd := &cobra.Command{
		Use:   "env [--shell sh|fish|csh] [--force] [--hook]",
		Short: "Print the line that makes a shell use this agent",
		Long: `Print the line that sets SSH_AUTH_SOCK. The socket's path never changes, so the
line can go into a shell's start-up file; the daemon needn't be running. In a login by
ssh whose SSH_AUTH_SOCK is a forwarded agent that answers, it prints nothing, so that
the shell keeps that agent.

With --hook, a second line registers the shell's terminal session in the background, if
a daemon runs: what runs there is then asked for the passphrase there ("vigilctl session").`,
		Example: `  eval "$(vigilctl env)"
  eval "$(vigilctl env --hook)"
  vigilctl env --shell fish | source`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.paths.RuntimeInTmp() { // made now, before another user makes it
				if err := unixsock.OwnFolder(a.paths.Runtime); err != nil {
					return control.Errorf(control.CodeRefused, "Set XDG_RUNTIME_DIR to a folder of your own.", "use %q for the sockets: %v", a.paths.Runtime, err)
				}
			}
			if shell == "" {
				shell = a.shell()
			}
			line, exports, err := a.exports(shell, force)
			if err != nil {
				return err
			}
			if line == "" && a.stdoutIsTerminal() {
				a.say("SSH_AUTH_SOCK is a forwarded agent's, and stays. Replace it: vigilctl env --force")
			}
			if hook && line != "" {
				second, err := hookLine(shell)
				if err != nil {
					return err
				}
				line += second + "\n"
			}
			return a.print(exports, func(w io.Writer) { verbatim(w, line) })
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "whose syntax to use, `SHELL`: sh, fish or csh (without it: csh when SHELL ends so, else sh, which fish reads too)")
	cmd.Flags().BoolVar(&force, "force", false, "also in place of a forwarded agent")
	cmd.Flags().BoolVar(&hook, "hook", false, "register the shell's terminal session, too")
	_ = cmd.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions([]string{"sh", "fish", "csh"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// exports returns the line that sets SSH_AUTH_SOCK, with its line end, and the same for
// --json. Both are empty where a forwarded agent keeps its place.
func (a *app) exports(shell string, force bool) (line string, variables map[string]string, err error) {
	line, err = exportLine(shell, a.paths.AgentSocket())
	if err != nil {
		return "", nil, err
	}
	if !force && systemd.Forwarded(a.env, a.paths.AgentSocket()) {
		return "", map[string]string{}, nil
	}
	return line + "\n", map[string]string{paths.SocketVariable: a.paths.AgentSocket()}, nil
}

func (a *app) stdoutIsTerminal() bool {
	f, ok := a.stdout.(*os.File)
	return ok && isTerminal(int(f.Fd()))
}

// shell returns the syntax of the user's shell, by ssh-agent's own rule.
func (a *app) shell() string {
	if strings.HasSuffix(filepath.Base(a.env("SHELL")), "csh") {
		return "csh"
	}
	return "sh"
}

// exportLine returns a line that sets SSH_AUTH_SOCK in the syntax of a shell.
func exportLine(shell, socket string) (string, error) {
	if strings.ContainsAny(socket, "\n\r\x00") {
		return "", control.Errorf(control.CodeFailed, "Set XDG_RUNTIME_DIR to a folder without line ends in its name.", "the agent socket's path has a line end")
	}
	quoted, err := quote(shell, socket)
	if err != nil {
		return "", err
	}
	switch shell {
	case "fish":
		return "set -gx " + paths.SocketVariable + " " + quoted + ";", nil
	case "csh", "tcsh":
		return "setenv " + paths.SocketVariable + " " + quoted + ";", nil
	}
	// One command without a separate assignment, so that fish accepts it too.
	return "export " + paths.SocketVariable + "=" + quoted + ";", nil
}

// quote returns a text as one word in the syntax of a shell.
func quote(shell, text string) (string, error) {
	switch shell {
	case "sh", "bash", "zsh", "ksh", "dash":
		return printable.Word(text), nil
	case "fish":
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'", nil
	case "csh", "tcsh":
		return "'" + strings.NewReplacer(`'`, `'\''`, `!`, `\!`).Replace(text) + "'", nil
	}
	return "", control.Errorf(control.CodeUsage, "It may be sh, fish or csh.", "--shell: %q is not known", shell)
}

// hookLine returns a line that registers a shell's session. The shell needn't wait, and
// tells of no job: that is sh's.
func hookLine(shell string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	quoted, err := quote(shell, self)
	return `sh -c '"$0" session register --quiet </dev/null >/dev/null 2>&1 &' ` + quoted + ";", err
}
