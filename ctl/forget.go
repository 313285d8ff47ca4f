package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/printable"
)

func (a *app) forgetCommand() *cobra.Command {
	var (
		req control.ForgetRequest
		yes bool
	)
	cmd := &cobra.Command{
		Use:   "forget VAULT [--yes]",
		Short: "Have this device forget a vault",
		Long: `Forget a vault on this device: for a first try that is to be thrown away, a passphrase
that nobody remembers, or a device that is given away. The vault is locked, and its
file, local keyring, configuration and device state are moved to a folder, which the
command names: move them back if the passphrase comes to mind, or remove them. Other
devices keep the vault. The command asks twice, and says what it leaves.`,
		Example: `  vigilctl forget default`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Vault = args[0]
			if err := checkVault(req.Vault); err != nil {
				return err
			}
			if !yes {
				if err := a.confirmForget(cmd.Context(), req.Vault); err != nil {
					return err
				}
			}
			return send(cmd.Context(), a, &req, printForgotten)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}

// confirmForget shows the vault and asks twice.
func (a *app) confirmForget(ctx context.Context, name string) error {
	v, err := a.vaultStatus(ctx, name)
	if err != nil {
		return err
	}
	t, err := a.openTerminal()
	if err != nil {
		return control.Errorf(control.CodeUsage, "Give --yes to forget it without being asked.", "there is no terminal to ask whether to forget vault %s", name)
	}
	defer t.close()
	t.say("vault %s, %s, with %s, at %s", v.Name, v.State, checkup.Count(v.Keys, "key"), v.Path)
	if v.Pending > 0 {
		t.say("%s of it on this device only: `vigilctl refresh` sends them to the backend first.", checkup.Count(v.Pending, "change"))
	}
	if yes, err := t.confirm(ctx, "Have this device forget it?"); err != nil || !yes {
		return forgotNothing(err)
	}
	typed, err := t.readLine(ctx, "Type its name to confirm: ")
	if err != nil || typed != name {
		return forgotNothing(err)
	}
	return nil
}

func forgotNothing(err error) error {
	if err != nil {
		return err
	}
	return control.Errorf(control.CodeInterrupted, "", "nothing was forgotten")
}

func printForgotten(w io.Writer, r *control.ForgetReply) {
	printf(w, "vault %s is forgotten. What this device had of it is in\n  %s\n", r.Vault, r.Aside)
	printf(w, "Remove it for good:\n  rm -r %s\n", printable.Word(r.Aside))
	for _, what := range r.Left {
		printf(w, "left: %s\n", what)
	}
}

func (a *app) vaultRename() *cobra.Command {
	var req control.RenameRequest
	cmd := &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give a vault another name on this device",
		Long: `Rename a vault: its folders and its configuration on this device. The vault is locked
first. Other devices have names of their own for it.`,
		Example: `  vigilctl vault rename default work`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Vault, req.To = args[0], args[1]
			for _, name := range args {
				if err := checkVault(name); err != nil {
					return err
				}
			}
			return send(cmd.Context(), a, &req, func(w io.Writer, r *control.RenameReply) {
				printf(w, "vault %s is %s now, and %s\n", req.Vault, r.Vault.Name, r.Vault.State)
			})
		},
	}
	return cmd
}
