package main

import (
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
	var force bool
	cmd := &cobra.Command{
		Use:   "env [--shell sh|fish|csh] [--force]",
		Short: "Print the line that makes a shell use this agent",
		Long: `Print the line that sets SSH_AUTH_SOCK. The socket's path never changes, so the
line can go into a shell's start-up file; the daemon needn't be running. In a login by
ssh whose SSH_AUTH_SOCK is a forwarded agent that answers, it prints nothing, so that
the shell keeps that agent.`,
		Example: `  eval "$(vigilctl env)"
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
			return a.print(exports, func(w io.Writer) { verbatim(w, line) })
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "whose syntax to use, `SHELL`: sh, fish or csh (without it: csh when SHELL ends so, else sh, which fish reads too)")
	cmd.Flags().BoolVar(&force, "force", false, "also in place of a forwarded agent")
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
	switch shell {
	case "sh", "bash", "zsh", "ksh", "dash":
		// One command without a separate assignment, so that fish accepts it too.
		return "export " + paths.SocketVariable + "=" + printable.Word(socket) + ";", nil
	case "fish":
		escaped := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(socket)
		return "set -gx " + paths.SocketVariable + " '" + escaped + "';", nil
	case "csh", "tcsh":
		escaped := strings.NewReplacer(`'`, `'\''`, `!`, `\!`).Replace(socket)
		return "setenv " + paths.SocketVariable + " '" + escaped + "';", nil
	}
	return "", control.Errorf(control.CodeUsage, "It may be sh, fish or csh.", "--shell: %q is not known", shell)
}
