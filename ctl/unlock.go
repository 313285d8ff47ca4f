package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

func (a *app) unlockCommand() *cobra.Command {
	var vault string
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "unlock [--vault NAME] [--passphrase-file FILE]",
		Short: "Unlock a vault",
		Long: `Unlock a vault with its passphrase, which is asked for on the terminal or read from
a file or descriptor. If the vault is already unlocked, the command does nothing.`,
		Example: `  vigilctl unlock
  pass show vigil | vigilctl unlock --vault work --passphrase-file -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.vaultStatus(cmd.Context(), vault)
			if err != nil {
				return err
			}
			reply, err := a.unlock(cmd.Context(), v, pass)
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) { printUnlocked(w, reply) })
		},
	}
	pass.flags(cmd)
	vaultFlag(cmd, &vault, "the default one")
	return cmd
}

// unlock unlocks a vault unless it is already unlocked. It fails for a missing or
// damaged one.
func (a *app) unlock(ctx context.Context, v *control.VaultStatus, pass *source) (*control.UnlockReply, error) {
	switch v.State {
	case control.VaultUnlocked:
		return &control.UnlockReply{Vault: *v, AlreadyUnlocked: true}, nil
	case control.VaultMissing:
		return nil, control.Errorf(control.CodeNotFound, "`vigilctl up` or `vigilctl init` makes it.", "there is no vault %s at %s", v.Name, v.Path)
	case control.VaultDamaged:
		return nil, control.Errorf(control.CodeDamaged, v.Next, "vault %s: %s", v.Name, v.Problem)
	}
	req := control.UnlockRequest{Vault: v.Name}
	pass.ready.Vault = v.Name
	prompt := fmt.Sprintf("Passphrase of vault %s: ", v.Name)
	return callWithPassphrase(ctx, a, pass, prompt, &req, &req.Passphrase)
}

func printUnlocked(w io.Writer, reply *control.UnlockReply) {
	how, after := painted{"unlocked", good}, ""
	switch {
	case reply.AlreadyUnlocked:
		how = painted{"was unlocked already", noColour}
	case reply.Vault.Offline:
		how, after = painted{"unlocked offline", warning}, ": nobody checked that access still holds"
	}
	printf(w, "vault %s %s%s, %s\n", reply.Vault.Name, how, after, checkup.Count(reply.Vault.Keys, "key"))
}

// defaultVault is the name of the vault if none is named or configured. It equals
// config.DefaultVault, whose package ctl doesn't link.
const defaultVault = "default"

// vaultStatus returns the state of the vault called name, or of the default one.
// The state of a vault that the daemon doesn't know is missing.
func (a *app) vaultStatus(ctx context.Context, name string) (*control.VaultStatus, error) {
	st, err := call(ctx, a, &control.StatusRequest{})
	if err != nil {
		return nil, err
	}
	return a.pickVault(st, name), nil
}

// pickVault finds a vault by name; the first one is the default.
func (a *app) pickVault(st *control.StatusReply, name string) *control.VaultStatus {
	for i := range st.Vaults {
		if name == "" || st.Vaults[i].Name == name {
			return &st.Vaults[i]
		}
	}
	if name == "" {
		name = defaultVault
	}
	return &control.VaultStatus{Name: name, State: control.VaultMissing, Path: a.paths.Vault(name)}
}
