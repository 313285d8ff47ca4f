package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/pubkey"
)

func (a *app) whyCommand() *cobra.Command {
	var req control.WhyRequest
	cmd := &cobra.Command{
		Use:   "why [--limit N]",
		Short: "Show why something was refused",
		Long: `Show refusals, newest first: what was refused, for which key, to which program, and
why. ssh itself only says "agent refused operation".

"Too many authentication failures" comes from the server, unseen by the agent:
"vigilctl list --host HOST" shows which keys ssh offers, and in which order.`,
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
			var hosts []knownHost
			if !a.json {
				hosts, _ = a.knownHosts(nil) // without it, a host is named by its key
			}
			return a.print(reply, func(w io.Writer) {
				for _, r := range reply.Refusals {
					printRefusal(w, r, hosts)
				}
			})
		},
	}
	cmd.Flags().IntVar(&req.Limit, "limit", 0, "show at most `N` (0: all that are kept)")
	return cmd
}

func printRefusal(w io.Writer, r control.Refusal, hosts []knownHost) {
	line := stamp(r.Time) + "  " + r.What
	if what := strings.TrimSpace(r.Key + " " + r.Fingerprint); what != "" {
		line += " " + what
	}
	if r.Vault != "" {
		line += " of vault " + r.Vault
	}
	if r.Purpose != "" {
		line += ", for a " + r.Purpose
	}
	if r.Host != "" {
		line += " at " + hostOf(r.Host, hosts)
	}
	switch {
	case r.Program != "":
		line += fmt.Sprintf(", asked by %s (process %d)", r.Program, r.PID)
	case r.PID != 0:
		line += fmt.Sprintf(", asked by process %d, which is gone", r.PID)
	}
	if r.From != "" {
		line += " through the agent that it forwards to " + hostOf(r.From, hosts)
	}
	printf(w, "%s\n    %s\n", line, r.Reason)
	if r.RequestID != "" {
		printf(w, "    KMS request %s\n", r.RequestID)
	}
	if r.Next != "" {
		printf(w, "    %s\n", r.Next)
	}
}

// hostOf names the host that has a key, given the key's fingerprint: as known_hosts does
// or else, as names there may be hashed, by its key.
func hostOf(fingerprint string, hosts []knownHost) string {
	for _, h := range hosts {
		if !h.key.CA && !strings.HasPrefix(h.names, "|") && pubkey.SHA256(h.key.Blob) == fingerprint {
			name, _, _ := strings.Cut(h.names, ",")
			return name
		}
	}
	return "the host with key " + fingerprint
}
