package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

func (a *app) rotateCommand() *cobra.Command {
	var req control.RotateRequest
	cmd := &cobra.Command{
		Use:   "rotate [--deks] [--vault NAME]",
		Short: "Replace the key above all keys of a vault",
		Long: `Make a new KEK for an unlocked vault, wrap the key of every item by it, and retire
the older ones. Nobody's passphrase is needed, no item is decrypted, and signing
goes on. What an interrupted rotation left, the next one finishes. The daemon of an
owner does it by itself every 90 days ("rotate" in the configuration).

--deks re-encrypts every item under a new key of its own, too.`,
		Example: `  vigilctl rotate
  vigilctl rotate --deks --vault work`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := call(cmd.Context(), a, &req)
			if err != nil {
				return err
			}
			for _, item := range reply.Left {
				a.say("Item %s can't be used now and keeps its key: `vigilctl show` says why.", item)
			}
			return a.print(reply, func(w io.Writer) {
				printf(w, "vault %s: KEK %d\n", reply.Vault, reply.KEK)
				if req.Deks {
					printf(w, "%s re-encrypted\n", checkup.Count(reply.Renewed, "item"))
				}
			})
		},
	}
	cmd.Flags().BoolVar(&req.Deks, "deks", false, "re-encrypt every item, too")
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}
