package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

// quietTimeout bounds the time for `session register --quiet`: a shell's start-up file runs
// it, and a daemon that doesn't answer is nothing that it should leave waiting.
const quietTimeout = 5 * time.Second

func (a *app) sessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "Be asked for the passphrase in this terminal",
		Long: `A registered session is a terminal in which you can be asked for a vault's passphrase:
a login by ssh, a pane of tmux, a console. What runs in its foreground, such as
"git push", is asked for there. A session is forgotten when its shell ends.

In a shell's start-up file, "vigilctl env --hook" registers each session.`,
		Example: `  vigilctl session register
  vigilctl session list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range []*cobra.Command{a.sessionRegisterCommand(), a.sessionListCommand()} {
		a.ready(c)
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) sessionRegisterCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "register [--quiet]",
		Short: "Register the session of this terminal",
		Long: `Register the session that this command runs in. The daemon has from the kernel which
that is, and which terminal. Registered again, it stays one session.`,
		Example: `  vigilctl session register`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := control.SessionRegisterRequest{Term: a.env("TERM")}
			if quiet {
				ctx, cancel := context.WithTimeout(cmd.Context(), quietTimeout)
				defer cancel()
				_, _ = call(ctx, a, &req)
				return nil
			}
			return send(cmd.Context(), a, &req, func(w io.Writer, r *control.SessionRegisterReply) { printSession(w, r.Session) })
		},
	}
	cmd.Flags().BoolVar(&quiet, "quiet", false, "say nothing, and fail with nothing")
	return cmd
}

func (a *app) sessionListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the registered sessions",
		Long:    `List the registered sessions that haven't ended, the newest first.`,
		Example: `  vigilctl session list`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return send(cmd.Context(), a, &control.SessionListRequest{}, func(w io.Writer, r *control.SessionListReply) {
				if len(r.Sessions) == 0 {
					a.say("No session is registered: vigilctl session register")
				}
				for _, s := range r.Sessions {
					printSession(w, s)
				}
			})
		},
	}
}

func printSession(w io.Writer, s control.TerminalSession) {
	printf(w, "%s  %s  led by process %d, registered %s", s.Terminal, s.Term, s.Leader, stamp(s.Registered))
	if len(s.Proved) > 0 {
		printf(w, "; the passphrase typed here unlocked %s", strings.Join(s.Proved, ", "))
	}
	printf(w, "\n")
}
