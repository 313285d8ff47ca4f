package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) masterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "master COMMAND",
		Short: "Move to another master key",
		Long: `Move this device's identity to another master key: the root of the key hierarchy,
which never leaves the file or KMS that holds it.`,
		Example: `  vigilctl master set 'awskms:///alias/vigil?region=eu-central-1'`,
	}
	return a.under(cmd, a.masterSetCommand())
}

func (a *app) masterSetCommand() *cobra.Command {
	var req control.MasterSetRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "set URL [--vault NAME]",
		Short: "Move this device's identity to another master key",
		Long: `Move this device's identity to another master key: "local", a file on this device, or
"awskms:///KEY?region=REGION". Between two AWS KMS keys, KMS itself re-encrypts the
share, which opens the identity together with the passphrase; otherwise the identity
gets a new share. The command checks that the new master
key opens the identity before it drops the old one. If interrupted, run it again.

It asks for your passphrase even if the vault is unlocked. Each identity moves on its
own device.`,
		Example: `  vigilctl master set 'awskms:///alias/vigil?region=eu-central-1'`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Master = args[0]
			return sendWithPassphrase(cmd.Context(), a, pass, yourPassphrase, &req, &req.Passphrase, func(w io.Writer, reply *control.MasterSetReply) {
				printf(w, "vault %s: master key %s\n", reply.Vault, reply.Master)
			})
		},
	}
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) backendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend COMMAND",
		Short: "Move the wrapped keys to another place",
		Long: `Move the keyring, which lists who may open a vault and holds the wrapped keys of its
items, to another place.`,
		Example: `  vigilctl backend set s3://bucket/vigil`,
	}
	return a.under(cmd, a.backendSetCommand())
}

func (a *app) backendSetCommand() *cobra.Command {
	var req control.BackendSetRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "set URL [--vault NAME]",
		Short: "Move the wrapped keys of a vault to another place",
		Long: `Copy the wrapped keys to another place: "file", a folder on this device,
"file:///FOLDER", or "s3://BUCKET/PREFIX". The copy is read back and verified before
the configuration names it. The old place is not changed. If interrupted, run the
command again. If another device has already moved the vault there, this one follows.

It asks for your passphrase even if the vault is unlocked.`,
		Example: `  vigilctl backend set s3://bucket/vigil`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Backend = args[0]
			return sendWithPassphrase(cmd.Context(), a, pass, yourPassphrase, &req, &req.Passphrase, func(w io.Writer, reply *control.BackendSetReply) {
				how := "copied to"
				if !reply.Copied {
					how = "already at"
				}
				printf(w, "vault %s: keyring %s %s\n", reply.Vault, how, reply.Backend)
			})
		},
	}
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}
