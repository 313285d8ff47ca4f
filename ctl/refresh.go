package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) refreshCommand() *cobra.Command {
	var req control.RefreshRequest
	cmd := &cobra.Command{
		Use:   "refresh [--vault NAME]",
		Short: "Fetch the keyring now and check that access still holds",
		Long: `Fetch the keyring from the backend, check with the KMS that this identity still
has access, and push pending changes of this device. The daemon does this every few
minutes.`,
		Example: `  vigilctl refresh --vault work`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := call(cmd.Context(), a, &req)
			if err != nil {
				return err
			}
			for _, v := range reply.Vaults {
				a.notices(v.Notices)
			}
			failed := refreshFailure(reply.Vaults)
			err = a.print(reply, func(w io.Writer) {
				for _, v := range reply.Vaults {
					printRefresh(w, v)
				}
			})
			if failed != nil {
				return failed
			}
			return err
		},
	}
	vaultFlag(cmd, &req.Vault, "all")
	return cmd
}

// refreshFailure returns the first failure of a refresh. A locked vault is a failure
// only if no vault is unlocked.
func refreshFailure(results []control.RefreshResult) *control.Error {
	var failed *control.Error
	open := false
	for _, v := range results {
		switch {
		case v.Error == nil:
			open = true
		case failed == nil || failed.Code == control.CodeLocked && v.Error.Code != control.CodeLocked:
			failed = v.Error
			if !strings.HasPrefix(failed.Message, "vault ") {
				failed = control.Errorf(failed.Code, failed.Next, "vault %s: %s", v.Vault, failed.Message)
			}
		}
	}
	if open && failed != nil && failed.Code == control.CodeLocked {
		return nil
	}
	return failed
}

func printRefresh(w io.Writer, v control.RefreshResult) {
	switch {
	case v.Error != nil && v.Error.Code == control.CodeLocked:
		printf(w, "vault %s: locked\n", v.Vault)
	case v.Error != nil:
		printf(w, "vault %s: not refreshed\n", v.Vault)
	case !v.Changed && v.Pushed == 0:
		printf(w, "vault %s: nothing new (epoch %d)\n", v.Vault, v.Epoch)
	default:
		printf(w, "vault %s: epoch %d, %d added, %d removed, %d pushed\n", v.Vault, v.Epoch, v.Added, v.Removed, v.Pushed)
	}
}
