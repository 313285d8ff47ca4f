package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/vaultfile"
)

func (a *app) vaultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vault COMMAND",
		Short: "Check, merge and restore the vault file",
		Long: `The vault file holds ciphertext only, and may be synced by any means. Vigil merges
incoming changes, including the conflict copies that sync tools leave beside the file,
and keeps earlier contents in .history/. Use these commands if something went wrong.`,
		Example: `  vigilctl vault verify
  vigilctl vault history`,
	}
	return a.under(cmd, a.vaultVerify(), a.vaultStats(), a.vaultHistory(), a.vaultRename(), a.vaultRestore(), a.vaultResolve(), a.vaultMerge(), a.vaultMergeDriver())
}

func (a *app) vaultVerify() *cobra.Command {
	var req control.VerifyRequest
	cmd := &cobra.Command{
		Use:   "verify [--vault NAME]",
		Short: "Check every layer and every item",
		Long: `Check an unlocked vault: the signed chain of members, the manifest and its MAC, every
line of the vault file, and that each item's metadata and private key can be decrypted
and match. It needs no network. The exit status is 1 if anything is wrong.`,
		Example: `  vigilctl vault verify`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := callLong(cmd.Context(), a, "checking revisions", &req)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printVerified(w, r) }); err != nil {
				return err
			}
			if len(r.Problems) > 0 {
				return control.Errorf(control.CodeDamaged, "Earlier contents of the file: vigilctl vault history.", "vault %s: %s", r.Vault, checkup.Count(len(r.Problems), "problem"))
			}
			return nil
		},
	}
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func printVerified(w io.Writer, r *control.VerifyReply) {
	for _, p := range r.Problems {
		printf(w, "wrong: %s\n", p)
	}
	printf(w, "vault %s: %s in %s checked, %s, epoch %d, KEK %d\n", r.Vault,
		checkup.Count(r.Items, "item"), checkup.Count(r.Heads+r.Superseded, "revision"), checkup.Count(r.Identities, "identity"), r.Epoch, r.KEK)
	if r.WaitingForLine > 0 {
		printf(w, "%s newer than this file: their lines haven't arrived yet\n", checkup.Count(r.WaitingForLine, "revision"))
	}
	if r.WaitingForKey > 0 {
		printf(w, "%s without a key in the keyring yet\n", checkup.Count(r.WaitingForKey, "line"))
	}
}

func (a *app) vaultStats() *cobra.Command {
	var req control.VerifyRequest
	cmd := &cobra.Command{
		Use:   "stats [--vault NAME]",
		Short: "Count what the vault holds",
		Long: `Count the items of an unlocked vault, those that wait for their key or their line, and
the sizes of its file and its keyring. It makes all checks of "vigilctl vault verify".`,
		Example: `  vigilctl vault stats --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return send(cmd.Context(), a, &req, func(w io.Writer, r *control.VerifyReply) {
				for _, row := range []struct {
					what string
					n    int
				}{
					{"items", r.Items},
					{"revisions in use", r.Heads},
					{"superseded lines", r.Superseded},
					{"lines waiting for their key", r.WaitingForKey},
					{"revisions waiting for their line", r.WaitingForLine},
					{"removed items", r.Deleted},
					{"changes on this device only", r.Pending},
					{"identities", r.Identities},
					{"records of members", r.Records},
					{"earlier contents kept", r.Generations},
					{"bytes of the vault file", r.FileBytes},
					{"bytes of members", r.MembersBytes},
					{"bytes of deks", r.DeksBytes},
				} {
					printf(w, "%10d  %s\n", row.n, row.what)
				}
			})
		},
	}
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) vaultHistory() *cobra.Command {
	var req control.HistoryRequest
	cmd := &cobra.Command{
		Use:   "history [KEY] [--vault NAME]",
		Short: "List the earlier contents of the vault file",
		Long: `List the earlier contents of the vault file, kept in .history/ beside it: the 10
newest, then one a day for 30 days. With KEY, also list the revisions of that key and
which of them "vigilctl vault restore" can restore.`,
		Example:           `  vigilctl vault history laptop`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				req.Key = args[0]
			}
			return send(cmd.Context(), a, &req, printHistory)
		},
	}
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func printHistory(w io.Writer, r *control.HistoryReply) {
	for _, g := range r.Generations {
		items := checkup.Count(g.Items, "line")
		if g.Items < 0 {
			items = "can't be read"
		}
		printf(w, "%s  %s  %s, %d bytes\n", g.Time.Local().Format("2006-01-02 15:04:05"), g.Name, items, g.Bytes)
	}
	for _, v := range r.Revisions {
		state := "its key is gone"
		switch {
		case v.Current:
			state = "in use"
		case v.Restorable:
			state = "can be restored"
		}
		printf(w, "revision %s  %s\n", v.Revision, state)
	}
}

func (a *app) vaultRestore() *cobra.Command {
	var req control.RestoreRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "restore KEY --revision REVISION [--vault NAME]",
		Short: "Restore a superseded revision of a key",
		Long: `Restore a superseded revision of a key, as a new revision that replaces the current
one. "vigilctl vault history KEY" lists the revisions. A removed key can't be restored:
the keys that encrypt it are destroyed.

If the key may then do more than now, it asks for the vault's passphrase, even if the
vault is unlocked.`,
		Example:           `  vigilctl vault restore laptop --revision Y3gjZoUd`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			return sendConsent(cmd.Context(), a, pass, &req, &req.Consent, func(w io.Writer, r *control.RestoreReply) { printf(w, "restored %s\n", a.keyLine(r.Key)) })
		},
	}
	cmd.Flags().StringVar(&req.Revision, "revision", "", "the `REVISION`, or its first characters")
	_ = cmd.MarkFlagRequired("revision")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "any")
	return cmd
}

func (a *app) vaultResolve() *cobra.Command {
	var req control.EditRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "resolve KEY --keep REVISION [--vault NAME]",
		Short: "Resolve a conflict after a key was edited on two devices",
		Long: `Resolve a conflict after a key was edited on two devices: one of its revisions stays,
the others are superseded and can be restored for 30 days. "vigilctl show KEY" lists
them. If one of the others restricts the key further, it asks for the vault's passphrase.`,
		Example:           `  vigilctl vault resolve laptop --keep Y3gjZoUd`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			return sendConsent(cmd.Context(), a, pass, &req, &req.Consent, func(w io.Writer, r *control.EditReply) { printf(w, "kept %s\n", a.keyLine(r.Key)) })
		},
	}
	cmd.Flags().StringVar(&req.Keep, "keep", "", "the `REVISION` to keep, or its first characters")
	_ = cmd.MarkFlagRequired("keep")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "any")
	return cmd
}

func (a *app) vaultMerge() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "merge FILE FILE... [--output FILE]",
		Short: "Merge vault files: every line of each",
		Long: `Merge files of one vault into one that has every line of each, sorted. It needs no
daemon and no passphrase. Without --output, the result goes to standard output.

As a git merge driver, for repositories where "merge=union" isn't enough:
  git config merge.vigil.driver "vigilctl vault merge-driver %O %A %B"
  echo 'vault.jsonl merge=vigil' >> .gitattributes`,
		Example: `  vigilctl vault merge laptop.jsonl desktop.jsonl --output vault.jsonl`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			merged, err := a.mergeFiles(args)
			if err != nil {
				return err
			}
			if output == "" {
				_, err = a.stdout.Write(merged)
				return err
			}
			path, err := filepath.Abs(output)
			if err != nil {
				return err
			}
			return durable.Replace(path, merged, durable.Options{Keep: true})
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "`FILE` to write; what it had is kept in .history/")
	return cmd
}

func (a *app) vaultMergeDriver() *cobra.Command {
	return &cobra.Command{
		Use:   "merge-driver BASE OURS THEIRS",
		Short: "Merge THEIRS into OURS, as a git merge driver",
		Long: `Merge the vault files OURS and THEIRS into OURS: every line of each. A file with a
line that can't be read is refused. The .gitattributes beside a vault file makes git
merge by union, which does the same for undamaged files and needs no driver.`,
		Example: `  git config merge.vigil.driver 'vigilctl vault merge-driver %O %A %B'`,
		Hidden:  true,
		Args:    cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			merged, err := a.mergeFiles(args[1:])
			if err != nil {
				return err
			}
			return os.WriteFile(args[1], merged, 0o600)
		},
	}
}

// mergeFiles returns the union of vault files. It refuses a file with lines that
// can't be read: a merge would hide the damage.
func (a *app) mergeFiles(paths []string) ([]byte, error) {
	var merged *vaultfile.File
	for _, path := range paths {
		data, err := a.readVaultFile(path)
		if err != nil {
			return nil, control.Errorf(control.CodeFailed, "Nothing was written.", "merge %s: %v", path, err)
		}
		f, err := vaultfile.Parse(data, id.Vault{})
		if err == nil && len(f.Damaged()) > 0 {
			err = &f.Damaged()[0]
		}
		if err == nil && merged != nil {
			f, err = vaultfile.Merge(merged, f)
		}
		if err != nil {
			return nil, control.Errorf(control.CodeDamaged, "Nothing was written.", "merge %s: %v", path, err)
		}
		merged = f
	}
	return merged.EncodeAll(), nil
}

func (a *app) readVaultFile(path string) ([]byte, error) {
	f, err := a.openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return durable.Read(f, vaultfile.MaxFile)
}

func (a *app) keyringCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring COMMAND",
		Short: "Recover from a keyring that was rolled back",
		Long: `A device refuses a keyring that is older than, or a fork of, the one it has seen:
someone may have put back a copy to undo a removal. Only you can tell whether that
was intended.`,
		Example: `  vigilctl keyring restore`,
	}
	return a.under(cmd, a.keyringRestore())
}

func (a *app) keyringRestore() *cobra.Command {
	var req control.KeyringRestoreRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "restore [--accept] [--vault NAME] [--passphrase-file FILE]",
		Short: "Put this device's last good keyring back into the backend",
		Long: `Replace a keyring in the backend that this device refuses, because it is older than,
or a fork of, the one it has seen. Without --accept, this device's last good keyring is
put back into the backend. With --accept, the backend's keyring is accepted as it is:
keys that it lacks can no longer be opened, and identities that it still lists have
access again.

It asks for the passphrase first, and locks the vault meanwhile.`,
		Example: `  vigilctl keyring restore`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.vaultStatus(cmd.Context(), req.Vault)
			if err != nil {
				return err
			}
			req.Vault = v.Name
			prompt := fmt.Sprintf("Passphrase of vault %s: ", v.Name)
			return sendWithPassphrase(cmd.Context(), a, pass, prompt, &req, &req.Passphrase, func(w io.Writer, r *control.KeyringRestoreReply) {
				printf(w, "vault %s: epoch %d in use\n", r.Vault.Name, r.Vault.Epoch)
			})
		},
	}
	cmd.Flags().BoolVar(&req.Accept, "accept", false, "take the backend's keyring as it is")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}
