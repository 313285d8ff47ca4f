package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

// editFlags are the flags of `edit` that need work before they are sent.
type editFlags struct {
	name, comment, certificate string
	hosts, tags, destinations  []string
	knownHosts                 []string
	confirm, allowSHA1         bool
	approve                    string
	anywhere                   bool
}

func (a *app) editCommand() *cobra.Command {
	var (
		req control.EditRequest
		f   editFlags
	)
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "edit KEY [flags]",
		Short: "Change a key's name, comment, hosts, tags or policy",
		Long: `Change a key's settings in an unlocked vault; settings without a flag stay. An empty
value clears one: --comment '', --host '', --tag ''.

--destination restricts the key as ssh-add -h does: "[user@]host" from here, or
"host>[user@]host" for a hop through a forwarded agent. The hosts must be in the
known_hosts files.

What lets the key do more than before, such as --confirm=false, asks for the vault's
passphrase even if the vault is unlocked.

A key that was edited on two devices has two revisions, and both work; --keep
resolves the conflict.`,
		Example: `  vigilctl edit laptop --name work-laptop --confirm
  vigilctl edit laptop --destination git@example.org \
      --destination 'example.org>backup.lan'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			if err := a.fillEdit(cmd, &req, &f); err != nil {
				return err
			}
			if req.Certificate != nil {
				defer req.Certificate.Close()
			}
			return sendConsent(cmd.Context(), a, pass, &req, &req.Consent, func(w io.Writer, reply *control.EditReply) { printf(w, "%s\n", a.keyLine(reply.Key)) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "new `NAME`")
	fs.StringVar(&f.comment, "comment", "", "new comment `TEXT`")
	fs.StringArrayVar(&f.hosts, "host", nil, "host `PATTERN` the key is for, instead of those it has; may be repeated")
	fs.StringArrayVar(&f.tags, "tag", nil, "`TAG` of the key, instead of those it has; may be repeated")
	fs.BoolVar(&f.confirm, "confirm", false, "ask at each use (--confirm=false: don't)")
	fs.StringVar(&f.approve, "approve", "", "`WHEN` a person is asked: never, forwarded, first or always; empty: as the vault says")
	fs.BoolVar(&f.allowSHA1, "allow-sha1", false, "let an RSA key sign with SHA-1, for old clients (--allow-sha1=false: don't)")
	fs.StringArrayVar(&f.destinations, "destination", nil, "`HOP` the key may be used for, instead of what it has; may be repeated")
	fs.BoolVar(&f.anywhere, "anywhere", false, "lift every --destination")
	fs.StringArrayVar(&f.knownHosts, "known-hosts", nil, "look hosts up in `FILE` (without it: the user's and the system's)")
	fs.StringVar(&f.certificate, "certificate", "", "`FILE` with the key's certificate (…-cert.pub)")
	fs.BoolVar(&req.DropCertificate, "no-certificate", false, "remove the certificate")
	fs.StringVar(&req.Keep, "keep", "", "the `REVISION` to keep of a key that was edited on two devices")
	pass.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("destination", "anywhere")
	cmd.MarkFlagsMutuallyExclusive("certificate", "no-certificate")
	vaultFlag(cmd, &req.Vault, "any")
	return cmd
}

// fillEdit fills req from the flags that were given.
func (a *app) fillEdit(cmd *cobra.Command, req *control.EditRequest, f *editFlags) error {
	changed := cmd.Flags().Changed
	if changed("name") {
		req.Name = &f.name
	}
	if changed("comment") {
		req.Comment = &f.comment
	}
	if changed("host") {
		hosts := withoutEmpty(f.hosts)
		req.Hosts = &hosts
	}
	if changed("tag") {
		tags := withoutEmpty(f.tags)
		req.Tags = &tags
	}
	if changed("confirm") {
		req.Confirm = &f.confirm
	}
	if changed("approve") {
		req.Approve = &f.approve
	}
	if changed("allow-sha1") {
		req.AllowSHA1 = &f.allowSHA1
	}
	if f.anywhere {
		req.Destinations = &[]control.Destination{}
	}
	if changed("destination") {
		hosts, err := a.knownHosts(f.knownHosts)
		if err != nil {
			return err
		}
		destinations, err := parseDestinations(f.destinations, hosts)
		if err != nil {
			return err
		}
		req.Destinations = &destinations
	}
	if f.certificate != "" {
		file, err := a.openFile(f.certificate)
		if err != nil {
			return control.Errorf(control.CodeFailed, "", "read the certificate: %v", err)
		}
		req.Certificate = file
	}
	if *req == (control.EditRequest{Vault: req.Vault, Key: req.Key}) {
		return control.Errorf(control.CodeUsage, "`vigilctl edit --help` lists what can be changed.", "no change is named")
	}
	return nil
}

func withoutEmpty(values []string) []string {
	kept := []string{}
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}
