package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/printable"
)

func (a *app) generateCommand() *cobra.Command {
	var req control.GenerateRequest
	cmd := &cobra.Command{
		Use:   "generate NAME [--type TYPE] [flags]",
		Short: "Make a new key in a vault",
		Long: `Make a new key in an unlocked vault. The private key is never written to disk in
plaintext. Types: ed25519, ecdsa (256, 384 or 521 bits), rsa (2048 to 8192 bits),
mldsa44-ed25519 (post-quantum, which only OpenSSH 10.6 and later know) and
mldsa44-ed25519@openssh.com (the same for OpenSSH 10.4 and 10.5).`,
		Example: `  vigilctl generate laptop
  vigilctl generate old-router --type rsa --bits 3072 --host router.lan`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.Name = args[0]; req.Name == "" {
				return control.Errorf(control.CodeUsage, "Give the key a name.", "the key's name is empty")
			}
			return send(cmd.Context(), a, &req, func(w io.Writer, reply *control.GenerateReply) {
				printf(w, "%s\n", a.keyLine(reply.Key))
				verbatim(w, printable.Line(authorizedKey(reply.Key))+"\n")
			})
		},
	}
	cmd.Flags().StringVar(&req.Type, "type", "ed25519", "`TYPE` of the key")
	cmd.Flags().IntVar(&req.Bits, "bits", 0, "size `N`, for the types that have several (without it: the type's usual one)")
	cmd.Flags().StringVar(&req.Comment, "comment", "", "`TEXT` to show with the key (without it: the key's name)")
	cmd.Flags().StringArrayVar(&req.Hosts, "host", nil, "host `PATTERN` the key is for; may be repeated")
	cmd.Flags().StringArrayVar(&req.Tags, "tag", nil, "`TAG` of the key; may be repeated")
	vaultFlag(cmd, &req.Vault, "the default one")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(
		[]string{"ed25519", "ecdsa", "rsa", "mldsa44-ed25519"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
