package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) rmCommand() *cobra.Command {
	var (
		req control.RemoveRequest
		yes bool
	)
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:     "rm KEY [--yes] [--vault NAME] [--passphrase-file FILE]",
		Aliases: []string{"delete", "remove"},
		Short:   "Permanently remove a key from its vault",
		Long: `Remove a key from its unlocked vault. The keys that encrypt it are destroyed, so that
it can't be recovered from any copy of the vault file, such as a backup or git. It asks
for the vault's passphrase even if the vault is unlocked.
Servers that trust the key go on trusting it: remove it there too.`,
		Example: `  vigilctl rm old-laptop
  vigilctl rm SHA256:q1x4… --yes --passphrase-file vault.pass`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			if !yes {
				if err := a.confirmRemoval(cmd, &req, pass); err != nil {
					return err
				}
			}
			return sendWithPassphrase(cmd.Context(), a, pass, passphraseAgain, &req, &req.Passphrase, func(w io.Writer, reply *control.RemoveReply) { printf(w, "removed %s\n", a.keyLine(reply.Key)) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "ask for nothing but the passphrase")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "any")
	return cmd
}

// confirmRemoval shows the key, and pins the request to that key. It asks, unless the
// passphrase is asked for, which answers too.
func (a *app) confirmRemoval(cmd *cobra.Command, req *control.RemoveRequest, pass *source) error {
	shown, err := call(cmd.Context(), a, &control.ShowRequest{Vault: req.Vault, Key: req.Key})
	if err != nil {
		return err
	}
	if shown.Key.ID != "" {
		req.Key, req.Vault = shown.Key.ID, shown.Key.Vault
	}
	if !pass.given() {
		pass.why = "this permanently removes " + a.keyLine(shown.Key)
		return nil
	}
	t, err := a.openTerminal()
	if err != nil {
		return control.Errorf(control.CodeUsage, "Give --yes to remove it without being asked.", "there is no terminal to ask whether to remove %q", req.Key)
	}
	defer t.close()
	t.say("%s", a.keyLine(shown.Key))
	yes, err := t.confirm(cmd.Context(), "Permanently remove this key?")
	if err != nil {
		return err
	}
	if !yes {
		return control.Errorf(control.CodeInterrupted, "", "nothing was removed")
	}
	return nil
}
