package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

func (a *app) grantsCommand() *cobra.Command {
	var revoke string
	cmd := &cobra.Command{
		Use:   "grants [--revoke N|all]",
		Short: "Show, or revoke, what you have allowed for some time",
		Long: `Show the answers to prompts that hold for some time: for which key and use, by which
program's session or service, from which host. Such an answer ends by itself after 10
minutes, when the machine sleeps, and when the key is locked, edited or removed.

docs/asking.md says when a person is asked.`,
		Example: `  vigilctl grants
  vigilctl grants --revoke all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := control.GrantsRequest{Revoke: revoke != ""}
			if revoke != "" && revoke != "all" {
				n, err := strconv.Atoi(revoke)
				if err != nil || n < 1 {
					return control.Errorf(control.CodeUsage, "`vigilctl grants` lists them.", "--revoke takes a grant's number, or all")
				}
				req.Number = n
			}
			reply, err := call(cmd.Context(), a, &req)
			if err != nil {
				return err
			}
			switch {
			case req.Revoke:
				a.say(fmt.Sprintf("Revoked: %d.", reply.Revoked))
			case len(reply.Grants) == 0:
				a.say("No answer to a prompt holds now.")
			}
			hosts, _ := a.knownHosts(nil) // without it, a host is named by its key
			return a.print(reply, func(w io.Writer) {
				for _, g := range reply.Grants {
					printGrant(w, g, hosts)
				}
			})
		},
	}
	cmd.Flags().StringVar(&revoke, "revoke", "", "ask again about the grant of number `N`, or about all")
	return cmd
}

func printGrant(w io.Writer, g control.Grant, hosts []knownHost) {
	line := fmt.Sprintf("%d  %s, for a %s", g.Number, g.Key, g.Purpose)
	if g.Host != "" {
		line += " at " + hostOf(g.Host, hosts)
	}
	if g.From != "" {
		line += ", through the agent forwarded to " + hostOf(g.From, hosts)
	}
	printf(w, "%s\n    until %s, for %s; %s\n", line, g.Until.Local().Format(time.TimeOnly), g.Origin, checkup.Count(g.Uses, "use"))
}
