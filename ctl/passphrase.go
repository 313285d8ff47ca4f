package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

// newVaultPassphrase is the source of a vault's new passphrase.
func newVaultPassphrase() *source {
	return &source{name: "new-passphrase", what: "the new passphrase", fd: -1}
}

func (a *app) passphraseCommand() *cobra.Command {
	var req control.PassphraseRequest
	old, next := vaultPassphrase(), newVaultPassphrase()
	cmd := &cobra.Command{
		Use:   "passphrase [--vault NAME] [flags]",
		Short: "Change your passphrase for a vault",
		Long: `Change the passphrase of this device's identity. The identity gets new key pairs,
and the vault a new key-encryption key (KEK) as by "vigilctl rotate": an old copy of the
keyring with the old passphrase opens nothing that is written from now on. Other
devices and people keep their own passphrases.`,
		Example: `  vigilctl passphrase
  vigilctl passphrase --vault work --kdf-memory 1024`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if old.stdin(a) && next.stdin(a) {
				return control.Errorf(control.CodeUsage, "Give one of them as a file.", "standard input can't be both passphrases")
			}
			old.once = next.fd >= 0 || next.file == "-" // can't be read again
			reply, err := a.changePassphrase(cmd.Context(), req, old, next)
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) {
				printf(w, "vault %s: passphrase changed, KEK %d\n", reply.Vault, reply.KEK)
			})
		},
	}
	kdfFlags(cmd, &req.KDF, "as before", "as before", "as before")
	old.flags(cmd)
	next.flags(cmd)
	next.suggestFlag(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) changePassphrase(ctx context.Context, req control.PassphraseRequest, old, next *source) (reply *control.PassphraseReply, err error) {
	var fresh *newPassphrase
	defer func() { fresh.wipe() }()
	err = a.withPassphrase(ctx, old, "Old passphrase of the vault: ", control.CodeWrongPassphrase, func(pass *os.File) error {
		if fresh == nil {
			next.ready = control.ReadyRequest{Vault: req.Vault, New: true, KDF: req.KDF}
			if fresh, err = a.askNew(ctx, next, "New passphrase of the vault: "); err != nil {
				return err
			}
		}
		f, err := fresh.open(a)
		if err != nil {
			return err
		}
		defer f.Close()
		req.Passphrase, req.NewPassphrase = pass, f
		reply, err = call(ctx, a, &req)
		return err
	})
	return reply, err
}
