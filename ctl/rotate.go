package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

func (a *app) rotateCommand() *cobra.Command {
	var req control.RotateRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "rotate [--deks] [--vault NAME]",
		Short: "Rotate a vault's key-encryption key (KEK)",
		Long: `Make a new key-encryption key (KEK) for an unlocked vault, rewrap the key of every item
with it, and retire the older KEKs: what a removed device kept opens nothing new. This needs no passphrase, decrypts no item and doesn't interrupt
signing. The next rotation finishes one that was interrupted. An owner's daemon rotates
the KEK every 90 days ("rotate" in the configuration).

--deks also re-encrypts every item under a new key. That supersedes every revision, and
asks for the vault's passphrase.`,
		Example: `  vigilctl rotate
  vigilctl rotate --deks --vault work`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := a.rotate(cmd.Context(), &req, pass)
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
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) rotate(ctx context.Context, req *control.RotateRequest, pass *source) (reply *control.RotateReply, err error) {
	if !req.Deks {
		return callLong(ctx, a, "re-encrypting items", req)
	}
	err = a.withPassphrase(ctx, pass, passphraseAgain, control.CodeWrongPassphrase, func(f *os.File) error {
		req.Passphrase = f
		reply, err = callLong(ctx, a, "re-encrypting items", req)
		return err
	})
	return reply, err
}
