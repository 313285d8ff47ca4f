package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/durable"
)

// maxRequest is the longest admission request that is read, in bytes.
const maxRequest = 64 << 10

func (a *app) identityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity COMMAND",
		Short: "Manage who may open a vault: people and devices",
		Long: `An identity is one person on one device, with its own passphrase. A second laptop
and a colleague are admitted in the same way:

  1. on the new device, with the vault file there: vigilctl identity request
  2. send the text that it prints to an owner of the vault, by mail or chat
  3. on the owner's device: vigilctl identity admit FILE, if the words match those
     that the new device shows; compare them over another channel than the text
  4. on the new device: vigilctl unlock`,
		Example: `  vigilctl identity list`,
	}
	return a.under(cmd, a.identityRequestCommand(), a.identityAdmitCommand(), a.identityListCommand(), a.identityRemoveCommand())
}

// under adds commands to parent, which by itself only shows help.
func (a *app) under(parent *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	parent.Args = knownCommand
	parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	parent.AddCommand(commands...)
	for _, c := range commands {
		a.ready(c)
	}
	return parent
}

// kdfFlags adds the flags that set Argon2id's parameters; memory, time and lanes
// describe their defaults.
func kdfFlags(cmd *cobra.Command, kdf *control.KDF, memory, time, lanes string) {
	fs := cmd.Flags()
	fs.Uint32Var(&kdf.MemoryMiB, "kdf-memory", 0, "Argon2id's memory, `N` MiB (0: "+memory+")")
	fs.Uint32Var(&kdf.Time, "kdf-time", 0, "`N` passes of Argon2id (0: "+time+")")
	fs.Uint32Var(&kdf.Parallelism, "kdf-parallelism", 0, "`N` lanes of Argon2id (0: "+lanes+")")
}

func (a *app) identityRequestCommand() *cobra.Command {
	var (
		req    control.IdentityRequestRequest
		output string
	)
	pass := vaultPassphrase()
	pass.what = "this device's new passphrase"
	cmd := &cobra.Command{
		Use:   "request [--vault NAME] [--master URL] [--backend URL] [--output FILE] [flags]",
		Short: "Request admission to a vault, on a new device",
		Long: `Make an identity for this device and print a request to admit it. The vault file must
already be on the device, under the vault's name; --master and --backend say where the
master key and the wrapped keys are, as on the other devices. The daemon is started
if none is running.

The request holds public keys, and private keys encrypted with your passphrase and
the master key. It is not secret, but it must not be altered in transit: comparing
the words detects that.`,
		Example: `  vigilctl identity request \
      --master 'awskms:///alias/vigil?region=eu-central-1' \
      --backend 's3://bucket/vigil?region=eu-central-1'
  vigilctl identity request --output request.txt --name 'alice on the desktop'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Name == "" {
				req.Name, _ = os.Hostname() // only a suggestion
			}
			// Before the identity is made: a request that can't be written changes nothing.
			file, err := a.createPublic(output)
			if err != nil {
				return err
			}
			reply, err := a.identityRequest(cmd.Context(), req, pass)
			if err := file.finish(reply, err); err != nil {
				return err
			}
			a.notices(reply.Notices)
			a.say("Send this text to an owner of the vault, and the words over another channel:\n\n  %s\n", reply.Words)
			return a.print(reply, func(w io.Writer) {
				if output == "" {
					verbatim(w, reply.Text)
				} else {
					printf(w, "wrote the request of identity %s to %s\n", reply.Identity, output)
				}
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&req.Master, "master", "", "`URL` of the master key (without it: as configured, or local)")
	fs.StringVar(&req.Backend, "backend", "", "`URL` of where the wrapped keys are kept (without it: as configured, or file)")
	fs.StringVar(&req.Name, "name", "", "`NAME` to propose to the owner (without it: this computer's)")
	fs.StringVar(&output, "output", "", "`FILE` to write the request to")
	fs.BoolVar(&req.Replace, "replace", false, "make a new identity on a device that has one")
	kdfFlags(cmd, &req.KDF, "the default", "the default", "the default")
	pass.flags(cmd)
	pass.suggestFlag(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) identityRequest(ctx context.Context, req control.IdentityRequestRequest, source *source) (*control.IdentityRequestReply, error) {
	if err := a.ensureDaemon(ctx, source); err != nil {
		return nil, err
	}
	source.ready = control.ReadyRequest{Vault: req.Vault, Master: req.Master, New: true, KDF: req.KDF}
	pass, err := a.askNew(ctx, source, "New passphrase for this device: ")
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
	return call(ctx, a, &req)
}

// publicFile is a new file for a request; the zero value is none.
type publicFile struct{ f *os.File }

// createPublic makes a new file, unless path is empty. It never replaces one.
func (a *app) createPublic(path string) (publicFile, error) {
	if path == "" {
		return publicFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return publicFile{}, control.Errorf(control.CodeFailed, "Nothing was changed. Name a new file, or leave out --output: then the request is printed.", "write the request: %v", err)
	}
	return publicFile{f}, nil
}

// finish writes the request, or removes the file if it wasn't made because of err,
// which it returns.
func (p publicFile) finish(reply *control.IdentityRequestReply, err error) error {
	if p.f == nil {
		return err
	}
	if err != nil {
		_ = p.f.Close()
		_ = os.Remove(p.f.Name())
		return err
	}
	_, err = p.f.WriteString(reply.Text)
	if err := errors.Join(err, p.f.Close()); err != nil {
		return control.Errorf(control.CodeFailed, "The identity is made. Make room, and run it again with --replace.", "write the request: %v", err)
	}
	return nil
}

func (a *app) identityAdmitCommand() *cobra.Command {
	var req control.IdentityAdmitRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "admit FILE [--role reader|member|owner] [--words WORDS] [--vault NAME]",
		Short: "Admit an identity to a vault",
		Long: `Admit the identity whose request is in FILE ("-": standard input). It asks whether the
words match those that the other device shows, and for your passphrase even if the
vault is unlocked; you must be an owner of the vault.

A reader can use every key of the vault but change nothing. A member can change keys
too. An owner can also admit and remove identities.`,
		Example: `  vigilctl identity admit request.txt
  vigilctl identity admit request.txt --role owner --name desktop`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" && pass.stdin(a) {
				return control.Errorf(control.CodeUsage, "Give one of them as a file.", "standard input can't be both the request and the passphrase")
			}
			text, err := a.readText(args[0])
			if err != nil {
				return err
			}
			req.Text = text
			reply, err := a.identityAdmit(cmd.Context(), req, pass)
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) { printf(w, "admitted %s\n", identityLine(reply.Identity)) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&req.Role, "role", "member", "`ROLE` of the identity: reader, member or owner")
	fs.StringVar(&req.Words, "words", "", "the `WORDS` that the other device shows, instead of being asked")
	fs.StringVar(&req.Name, "name", "", "`NAME` that this device gives it (without it: as the request does)")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

// readText reads a request from a file or standard input.
func (a *app) readText(path string) (string, error) {
	const next = "Name the file with the request."
	f, err := a.openFile(path)
	if err != nil {
		return "", control.Errorf(control.CodeUsage, next, "read the request: %v", err)
	}
	defer f.Close()
	text, err := durable.Read(f, maxRequest)
	if err != nil {
		return "", control.Errorf(control.CodeUsage, next, "read the request: %v", err)
	}
	return string(text), nil
}

func (a *app) identityAdmit(ctx context.Context, req control.IdentityAdmitRequest, pass *source) (*control.IdentityAdmitReply, error) {
	read, err := call(ctx, a, &control.IdentityReadRequest{Vault: req.Vault, Text: req.Text})
	if err != nil {
		return nil, err
	}
	if req.Words == "" {
		if err := a.compareWords(ctx, read, req.Role); err != nil {
			return nil, err
		}
		req.Words = read.Words
	}
	req.Vault = read.Vault
	prompt := fmt.Sprintf("Your passphrase of vault %s: ", read.Vault)
	return callWithPassphrase(ctx, a, pass, prompt, &req, &req.Passphrase)
}

// compareWords asks the user whether the other device shows the request's words.
func (a *app) compareWords(ctx context.Context, read *control.IdentityReadReply, role string) error {
	t, err := a.openTerminal()
	if err != nil {
		return control.Errorf(control.CodeUsage, "Give the words that the other device shows with --words.", "there is no terminal to compare the words of the request")
	}
	defer t.close()
	t.say("Request of identity %s to be %s of vault %s", read.Identity, role, read.Vault)
	if read.Name != "" {
		t.say("  it calls itself %q", read.Name)
	}
	t.say("  its master key is %s", read.Master)
	t.say("  its words are:\n\n    %s\n", read.Words)
	yes, err := t.confirm(ctx, "Does the other device show the same words?")
	if err == nil && !yes {
		err = control.Errorf(control.CodeInterrupted, "Someone may have replaced the request.", "nothing was changed")
	}
	return err
}

func (a *app) identityListCommand() *cobra.Command {
	var req control.IdentityListRequest
	cmd := &cobra.Command{
		Use:   "list [--vault NAME]",
		Short: "List who may open a vault",
		Long: `List the identities of a vault, in the order in which they were admitted. Names are
this device's own; the vault holds ids only. The list of a locked vault is the one
that this device fetched last.`,
		Example: `  vigilctl identity list --vault team`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return send(cmd.Context(), a, &req, func(w io.Writer, reply *control.IdentityListReply) {
				for _, i := range reply.Identities {
					printf(w, "%s\n", identityLine(i))
				}
			})
		},
	}
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

// identityLine returns one identity as a line for people.
func identityLine(i control.Identity) string {
	notes := []string{i.Role, fmt.Sprintf("record %d", i.Record)}
	if i.Role == "" {
		notes = nil // removed before
	}
	if i.Master != "" {
		notes = append(notes, "master "+i.Master)
	}
	if i.Admitted != nil {
		notes = append(notes, "admitted here "+stamp(*i.Admitted))
	}
	if i.This {
		notes = append(notes, "this device")
	}
	line := i.ID
	if i.Name != "" {
		line += " " + i.Name
	}
	if len(notes) > 0 {
		line += "  [" + strings.Join(notes, ", ") + "]"
	}
	return line
}

func (a *app) identityRemoveCommand() *cobra.Command {
	var req control.IdentityRemoveRequest
	var yes bool
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "remove IDENTITY... [--yes] [--vault NAME]",
		Short: "Remove identities from a vault",
		Long: `Remove identities, each named by its id, the beginning of its id or this device's
name for it, and rotate the key-encryption key (see "vigilctl rotate"). From then on they can neither write to the vault nor
read what others write. It asks for your passphrase even if the vault is unlocked; you
must be an owner of the vault.

They may have kept what they could read until now. Replace the keys that are printed
on the servers that trust them.`,
		Example: `  vigilctl identity remove desktop`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Identities = args
			if !yes {
				if err := a.confirmIdentities(cmd.Context(), req.Identities); err != nil {
					return err
				}
			}
			return sendWithPassphrase(cmd.Context(), a, pass, yourPassphrase, &req, &req.Passphrase, a.printRemoved)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	pass.flags(cmd)
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) confirmIdentities(ctx context.Context, who []string) error {
	names := strings.Join(who, ", ")
	t, err := a.openTerminal()
	if err != nil {
		return control.Errorf(control.CodeUsage, "Give --yes to remove without being asked.", "there is no terminal to ask whether to remove %q", names)
	}
	defer t.close()
	yes, err := t.confirm(ctx, fmt.Sprintf("Permanently remove %s?", names))
	if err == nil && !yes {
		err = control.Errorf(control.CodeInterrupted, "", "nothing was changed")
	}
	return err
}

func (a *app) printRemoved(w io.Writer, reply *control.IdentityRemoveReply) {
	for _, i := range reply.Identities {
		printf(w, "removed %s\n", identityLine(i))
	}
	if len(reply.Replace) == 0 {
		return
	}
	printf(w, "These keys could be read; replace them on servers:\n")
	for _, k := range reply.Replace {
		a.printKeyLine(w, "  ", k)
	}
}
