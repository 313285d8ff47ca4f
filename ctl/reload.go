package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its config again",
		Long: `Make the daemon read config.toml and vaults.d again. A config with a mistake is
refused, with the line that has it, and the one in use stays.`,
		Example: `  vigilctl reload`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := call(cmd.Context(), a, &control.ReloadRequest{})
			if err != nil {
				return err
			}
			a.notices(reply.Notices)
			return a.print(reply, func(io.Writer) {})
		},
	}
}
