package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) whyCommand() *cobra.Command {
	var req control.WhyRequest
	cmd := &cobra.Command{
		Use:   "why [--limit N]",
		Short: "Show why something was refused",
		Long: `Show refusals, newest first: what was refused, for which key, to which program, and
why. ssh itself only says "agent refused operation".`,
		Example: `  vigilctl why --limit 1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Limit < 0 {
				return control.Errorf(control.CodeUsage, "", "--limit is negative")
			}
			reply, err := call(cmd.Context(), a, &req)
			if err != nil {
				return err
			}
			if len(reply.Refusals) == 0 {
				a.say("Nothing was refused since the daemon started.")
			}
			return a.print(reply, func(w io.Writer) {
				for _, r := range reply.Refusals {
					printRefusal(w, r)
				}
			})
		},
	}
	cmd.Flags().IntVar(&req.Limit, "limit", 0, "show at most `N` (0: all that are kept)")
	return cmd
}

func printRefusal(w io.Writer, r control.Refusal) {
	line := stamp(r.Time) + "  " + r.What
	if what := strings.TrimSpace(r.Key + " " + r.Fingerprint); what != "" {
		line += " " + what
	}
	if r.Vault != "" {
		line += " of vault " + r.Vault
	}
	if r.Host != "" {
		line += " for " + r.Host
	}
	switch {
	case r.Program != "": // it has the pid
		line += ", asked by " + r.Program
	case r.PID != 0:
		line += fmt.Sprintf(", asked by process %d", r.PID)
	}
	printf(w, "%s\n    %s\n", line, r.Reason)
	if r.RequestID != "" {
		printf(w, "    KMS request %s\n", r.RequestID)
	}
	if r.Next != "" {
		printf(w, "    %s\n", r.Next)
	}
}
