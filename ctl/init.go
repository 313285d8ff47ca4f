package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

func (a *app) initCommand() *cobra.Command {
	var req control.InitRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "init [--vault NAME] [--master URL] [--backend URL] [flags]",
		Short: "Make a vault",
		Long: `Make a new, empty vault with its own passphrase. It never replaces an existing one.
The daemon is started if none is running.

--master says where the master key is: "local", a file on this device, or
"awskms:///KEY?region=REGION". --backend says where the wrapped keys are kept:
"file", a folder on this device, or "s3://BUCKET/PREFIX".

The flags --kdf-… set what a guess at the passphrase costs (Argon2id).`,
		Example: `  vigilctl init --vault work
  vigilctl init --vault team \
      --master 'awskms:///alias/vigil?region=eu-central-1' \
      --backend 's3://bucket/vigil?region=eu-central-1'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.ensureDaemon(cmd.Context(), pass); err != nil {
				return err
			}
			reply, err := a.initVault(cmd.Context(), req, pass)
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) {
				printf(w, "made vault %s\n", reply.Vault.Name)
				printVault(w, reply.Vault)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&req.Master, "master", "", "`URL` of the master key (without it: as configured, or local)")
	fs.StringVar(&req.Backend, "backend", "", "`URL` of where the wrapped keys are kept (without it: as configured, or file)")
	kdfFlags(cmd, &req.KDF, "256", "3", "4")
	fs.BoolVar(&req.Unlock, "unlock", false, "leave it unlocked")
	pass.flags(cmd)
	pass.suggestFlag(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

// initVault makes a vault with a passphrase from source, unless the vault exists.
func (a *app) initVault(ctx context.Context, req control.InitRequest, source *source) (*control.InitReply, error) {
	// Don't ask for a passphrase in vain.
	v, err := a.vaultStatus(ctx, req.Vault)
	if err != nil {
		return nil, err
	}
	if v.State != control.VaultMissing {
		return nil, control.Errorf(control.CodeExists, "Name another with --vault, or unlock it with `vigilctl unlock`.", "vault %s exists at %s; nothing was changed", v.Name, v.Path)
	}
	source.ready = control.ReadyRequest{Create: true, Vault: req.Vault, Master: req.Master, Backend: req.Backend, New: true, KDF: req.KDF}
	pass, err := a.askNew(ctx, source, fmt.Sprintf("New passphrase for vault %s: ", v.Name))
	if err != nil {
		return nil, err
	}
	defer pass.wipe()
	f, err := pass.open(a)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	req.Passphrase = f
	reply, err := call(ctx, a, &req)
	if err != nil || !req.Unlock || reply.Vault.State == control.VaultUnlocked {
		return reply, err
	}
	return reply, a.unlockNew(ctx, reply, pass)
}

// unlockNew unlocks a new vault that should be unlocked but isn't.
func (a *app) unlockNew(ctx context.Context, made *control.InitReply, pass *newPassphrase) error {
	f, err := pass.open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	reply, err := call(ctx, a, &control.UnlockRequest{Vault: made.Vault.Name, Passphrase: f})
	if err != nil {
		return err
	}
	made.Vault = reply.Vault
	made.Notices = append(made.Notices, reply.Notices...)
	return nil
}
