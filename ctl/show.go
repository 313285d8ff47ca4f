package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/printable"
	"vigil/internal/pubkey"
)

func (a *app) showCommand() *cobra.Command {
	var (
		vault      string
		publicOnly bool
	)
	cmd := &cobra.Command{
		Use:   "show KEY [--public] [--vault NAME]",
		Short: "Show a key's authorized_keys line, fingerprints and settings",
		Long: `Show a key of a vault: its authorized_keys line first, then its fingerprints and
settings. KEY is a name, the beginning of an id, or a SHA256 fingerprint. The vault
may be locked.`,
		Example: `  vigilctl show laptop
  vigilctl show laptop --public | ssh host 'cat >> .ssh/authorized_keys'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return send(cmd.Context(), a, &control.ShowRequest{Vault: vault, Key: args[0]}, func(w io.Writer, reply *control.ShowReply) {
				verbatim(w, printable.Line(authorizedKey(reply.Key))+"\n")
				if publicOnly {
					return
				}
				printKey(w, reply.Key)
				if len(reply.Heads) > 1 {
					printf(w, "edited on several devices; `vigilctl edit KEY --keep REVISION` resolves it:\n")
					for _, h := range reply.Heads {
						printf(w, "  %s  %s\n", h.Revision, keyLabel(h))
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&publicOnly, "public", false, "print the authorized_keys line alone")
	vaultFlag(cmd, &vault, "any")
	return cmd
}

// authorizedKey returns a key's line for authorized_keys or a .pub file.
func authorizedKey(k control.Key) string {
	comment := k.Comment
	if comment == "" {
		comment = k.Name
	}
	return strings.TrimSpace(k.PublicKey + " " + comment)
}

func printKey(w io.Writer, k control.Key) {
	var created, expires, valid string
	if k.Created != nil {
		created = k.Created.Local().Format(time.RFC3339)
	}
	if k.Expires != nil {
		expires = k.Expires.Local().Format(time.RFC3339)
	}
	if k.ValidUntil != nil {
		valid = "until " + k.ValidUntil.Local().Format(time.RFC3339)
		if k.CertificateExpired() {
			valid += ", expired: the agent doesn't list the certificate"
		}
	}
	for _, part := range []struct{ name, value string }{
		{"SHA256", strings.TrimPrefix(k.Fingerprint, "SHA256:")},
		{"MD5", md5Of(k)},
		{"type", fmt.Sprintf("%s, %d bits", k.Type, k.Bits)},
		{"name", k.Name},
		{"vault", k.Vault},
		{"id", k.ID},
		{"revision", k.Revision},
		{"created", created},
		{"expires", expires},
		{"hosts", strings.Join(k.Hosts, ", ")},
		{"tags", strings.Join(k.Tags, ", ")},
		{"for", strings.Join(k.Destinations, ", ")},
		{"certificate", k.Certificate},
		{"valid", valid},
		{"state", strings.ReplaceAll(string(k.State), "_", " ")},
		{"problem", k.Problem},
	} {
		if part.value != "" {
			printf(w, "%-11s %s\n", part.name, part.value)
		}
	}
	if k.AllowSHA1 {
		printf(w, "sha-1       allowed: clients that ask for an ssh-rsa signature get one\n")
	}
	if k.Approve != "" {
		printf(w, "approve     %s\n", k.Approve)
	}
	if k.Confirm {
		printf(w, "confirm     each use is asked for\n")
	}
}

// md5Of returns the MD5 fingerprint, which older servers log, or "".
func md5Of(k control.Key) string {
	_, encoded, _ := strings.Cut(k.PublicKey, " ")
	blob, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(blob) == 0 {
		return ""
	}
	return strings.TrimPrefix(pubkey.MD5(blob), "MD5:")
}
