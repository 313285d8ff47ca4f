package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

func (a *app) lockCommand() *cobra.Command {
	var req control.LockRequest
	cmd := &cobra.Command{
		Use:   "lock [--vault NAME]",
		Short: "Lock the vaults and drop all added keys",
		Long: `Lock every vault and drop every key added by ssh-add. The processes that held the
keys have ended when it returns. With --vault, only that vault is locked.`,
		Example: `  vigilctl lock
  vigilctl lock --vault work`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return send(cmd.Context(), a, &req, func(w io.Writer, reply *control.LockReply) {
				if len(reply.Locked) == 0 && reply.RemovedKeys == 0 {
					printf(w, "nothing was unlocked\n")
				}
				if len(reply.Locked) > 0 {
					printf(w, "%s %s\n", painted{"locked", warning}, strings.Join(reply.Locked, ", "))
				}
				if reply.RemovedKeys > 0 {
					printf(w, "dropped %s added by ssh-add\n", checkup.Count(reply.RemovedKeys, "key"))
				}
			})
		},
	}
	vaultFlag(cmd, &req.Vault, "all, and what ssh-add added")
	return cmd
}
