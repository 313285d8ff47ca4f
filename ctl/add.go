package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/durable"
)

func (a *app) addCommand() *cobra.Command {
	var (
		req         control.AddRequest
		certificate string
	)
	pass := keyPassphrase()
	cmd := &cobra.Command{
		Use:     "add FILE [--name NAME] [flags]",
		Aliases: []string{"import"},
		Short:   "Import a private key file into a vault",
		Long: `Import a private key into an unlocked vault: an OpenSSH key, PEM (PKCS#1, SEC1,
PKCS#8), or a PuTTY .ppk of version 2 or 3, with or without a passphrase. FILE
is not changed; "-" is standard input.

The certificate beside FILE (FILE-cert.pub) is imported with it. The key gets FILE's
name; blanks become "-".

To add a key for this session only, use ssh-add.`,
		Example: `  vigilctl add ~/.ssh/id_ed25519 --name laptop
  vigilctl add key.ppk --key-passphrase-file ppk.pass --host '*.example.org'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" && pass.stdin(a) {
				return control.Errorf(control.CodeUsage, "Give one of them as a file.", "standard input can't be both the key and its passphrase")
			}
			if certificate != "" {
				f, err := a.openFile(certificate)
				if err != nil {
					return control.Errorf(control.CodeFailed, "", "read the certificate: %v", err)
				}
				defer f.Close()
				req.Certificate = f
			}
			derived := req.Name == "" && args[0] != "-"
			if derived {
				req.Name = keyName(args[0])
			}
			reply, err := a.addKey(cmd.Context(), args[0], req, pass)
			if err != nil && derived && codeOf(err) == control.CodeExists && req.Name != filepath.Base(args[0]) {
				e := control.AsError(err)
				return control.Errorf(e.Code, e.Next, "%s would be called %s: %s", args[0], req.Name, e.Message)
			}
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) { printf(w, "%s\n", a.keyLine(reply.Key)) })
		},
	}
	cmd.Flags().StringVar(&req.Name, "name", "", "`NAME` of the key in the vault (without it: the file's)")
	cmd.Flags().StringVar(&req.Comment, "comment", "", "`TEXT` to show with the key (without it: the file's comment)")
	cmd.Flags().StringArrayVar(&req.Hosts, "host", nil, "host `PATTERN` the key is for; may be repeated")
	cmd.Flags().StringArrayVar(&req.Tags, "tag", nil, "`TAG` of the key; may be repeated")
	cmd.Flags().StringVar(&certificate, "certificate", "", "`FILE` with the key's certificate (without it: FILE-cert.pub)")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

// addKey imports the key file at path, with the certificate beside it if req has none.
// It asks for the file's passphrase if the file has one and no flag gives it.
func (a *app) addKey(ctx context.Context, path string, req control.AddRequest, pass *source) (*control.AddReply, error) {
	reply, err := a.addWithPassphrase(ctx, path, req, pass)
	if err != nil {
		return nil, err
	}
	if notice := strangePublic(path, reply.Key); notice != "" && path != "-" {
		reply.Notices = append(reply.Notices, notice)
	}
	return reply, nil
}

func (a *app) addWithPassphrase(ctx context.Context, path string, req control.AddRequest, pass *source) (*control.AddReply, error) {
	var reply *control.AddReply
	add := func(passphrase *os.File) error {
		f, err := a.openKeyFile(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if path != "-" && (req.Certificate == nil || req.CertificateBeside) {
			// Whatever can't be opened as a file isn't a certificate.
			if req.Certificate, err = durable.OpenRegular(path + "-cert.pub"); err == nil {
				defer req.Certificate.Close()
			}
			req.CertificateBeside = err == nil
		}
		req.KeyFile, req.KeyPassphrase = f, passphrase
		reply, err = call(ctx, a, &req)
		return err
	}
	if pass.given() {
		return reply, a.withPassphrase(ctx, pass, "", control.CodeKeyPassphrase, add)
	}
	err := add(nil)
	if codeOf(err) != control.CodeKeyPassphrase {
		return reply, err
	}
	if path == "-" { // standard input can't be read again
		return nil, control.Errorf(control.CodeKeyPassphrase, "Give --key-passphrase-file FILE.", "the key on standard input has a passphrase")
	}
	prompt := fmt.Sprintf("Passphrase of %s: ", path)
	err = a.withPassphrase(ctx, pass, prompt, control.CodeKeyPassphrase, add)
	if codeOf(err) == control.CodeUsage && !a.hasTerminal() {
		return nil, control.Errorf(control.CodeKeyPassphrase, "Give --key-passphrase-file FILE or --key-passphrase-fd N.", "%s has a passphrase, and there is no terminal to ask for it", path)
	}
	return reply, err
}

// openKeyFile opens a private key file without reading it.
func (a *app) openKeyFile(path string) (*os.File, error) {
	f, err := a.openFile(path)
	if err != nil {
		return nil, control.Errorf(control.CodeFailed, "Name a private key file.", "read the key file: %v", err)
	}
	return f, nil
}

// hasTerminal reports whether there is a terminal to ask on.
func (a *app) hasTerminal() bool {
	t, err := a.openTerminal()
	if err != nil {
		return false
	}
	t.close()
	return true
}
