package main

import (
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/unixsock"
)

// socketVariable is the variable that names the agent's socket (ssh(1)).
const socketVariable = "SSH_AUTH_SOCK"

func (a *app) envCommand() *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use:   "env [--shell sh|fish|csh]",
		Short: "Print the line that makes a shell use this agent",
		Long: `Print the line that sets SSH_AUTH_SOCK. The socket's path never changes, so the
line can go into a shell's start-up file; the daemon needn't be running.`,
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
			line, err := exportLine(shell, a.paths.AgentSocket())
			if err != nil {
				return err
			}
			return a.print(a.exports(), func(w io.Writer) { _, _ = io.WriteString(w, line+"\n") })
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "whose syntax to use, `SHELL`: sh, fish or csh (without it: csh when SHELL ends so, else sh, which fish reads too)")
	_ = cmd.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions([]string{"sh", "fish", "csh"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// exports is what `env --json` prints.
func (a *app) exports() map[string]string {
	return map[string]string{socketVariable: a.paths.AgentSocket()}
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
		return "export " + socketVariable + "=" + quoteSh(socket) + ";", nil
	case "fish":
		escaped := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(socket)
		return "set -gx " + socketVariable + " '" + escaped + "';", nil
	case "csh", "tcsh":
		escaped := strings.NewReplacer(`'`, `'\''`, `!`, `\!`).Replace(socket)
		return "setenv " + socketVariable + " '" + escaped + "';", nil
	}
	return "", control.Errorf(control.CodeUsage, "It may be sh, fish or csh.", "--shell: %q is not known", shell)
}

// quoteSh quotes a word for a POSIX shell.
func quoteSh(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
