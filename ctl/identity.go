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

// maxRequest is the longest request of an identity that is read, in bytes.
const maxRequest = 64 << 10

func (a *app) identityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity COMMAND",
		Short: "Say who may open a vault: people, and devices",
		Long: `An identity is one person on one device, with a passphrase of its own. A second
laptop and a colleague get in the same way:

  1. on the new device, with the vault file there: vigilctl identity request
  2. its text goes to an owner of the vault, by mail or chat
  3. there: vigilctl identity admit FILE, once the words agree with those that the
     new device shows; tell each other by another way than the text came
  4. on the new device: vigilctl unlock`,
		Example: `  vigilctl identity list`,
	}
	return a.under(cmd, a.identityRequestCommand(), a.identityAdmitCommand(), a.identityListCommand(), a.identityRemoveCommand())
}

// under adds commands to a command of theirs, which by itself only shows help.
func (a *app) under(parent *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	parent.Args = knownCommand
	parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	parent.AddCommand(commands...)
	for _, c := range commands {
		a.ready(c)
	}
	return parent
}

// kdfFlags are what a guess at a passphrase costs, and what it does without them.
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
		Short: "Ask to be let into a vault, on a new device",
		Long: `Make an identity for this device and print a request to admit it. The vault file has
to be there first, under the vault's name; --master and --backend say where the
master key and the wrapped keys are, as on the other devices. The daemon is started
if none runs.

The request holds public keys, and the private ones sealed by your passphrase and
the master key. It is no secret, but nobody must change it on its way: the words
say whether somebody did.`,
		Example: `  vigilctl identity request --master 'awskms:///alias/vigil?region=eu-central-1' --backend s3://bucket/vigil
  vigilctl identity request --output request.txt --name 'alice on the desktop'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Name == "" {
				req.Name, _ = os.Hostname() // only a proposal
			}
			if err := a.ensureDaemon(cmd.Context(), pass); err != nil {
				return err
			}
			reply, err := a.identityRequest(cmd.Context(), req, pass)
			if err != nil {
				return err
			}
			a.notices(reply.Notices)
			if output != "" {
				if err := a.writePublic(output, reply.Text); err != nil {
					return err
				}
			}
			a.say("Give this text to an owner of the vault, and the words by another way:\n\n  %s\n", reply.Words)
			return a.print(reply, func(w io.Writer) {
				if output == "" {
					_, _ = io.WriteString(w, reply.Text)
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
	vaultFlag(cmd, &req.Vault, "the default one")
	return cmd
}

func (a *app) identityRequest(ctx context.Context, req control.IdentityRequestRequest, source *source) (*control.IdentityRequestReply, error) {
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

// writePublic writes a file that isn't there yet.
func (a *app) writePublic(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return control.Errorf(control.CodeFailed, "The same command without --output prints it.", "write the request: %v", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return control.Errorf(control.CodeFailed, "The same command without --output prints it.", "write the request: %v", err)
	}
	return nil
}

func (a *app) identityAdmitCommand() *cobra.Command {
	var req control.IdentityAdmitRequest
	pass := vaultPassphrase()
	cmd := &cobra.Command{
		Use:   "admit FILE [--role reader|member|owner] [--words WORDS] [--vault NAME]",
		Short: "Let an identity into a vault",
		Long: `Let in the identity whose request FILE holds ("-": standard input). It asks whether the
words agree with those that the other device shows, and for your passphrase, unlocked
or not; you have to be an owner of the vault.

A reader can use every key of the vault and changes nothing. A member can change them,
too. An owner can also let others in and shut them out.`,
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

// compareWords asks a person whether it's the request that the other device made.
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
		err = control.Errorf(control.CodeInterrupted, "Somebody may have put another request in its place.", "nothing was changed")
	}
	return err
}

func (a *app) identityListCommand() *cobra.Command {
	var req control.IdentityListRequest
	cmd := &cobra.Command{
		Use:   "list [--vault NAME]",
		Short: "List who may open a vault",
		Long: `List the identities of a vault, in the order in which they came. Names are this
device's own; the vault holds ids only. A locked vault's list is as old as the last
time this device fetched it.`,
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

// identityLine is one identity for people.
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
		Short: "Shut identities out of a vault",
		Long: `Shut out identities, each named by its id, the beginning of its id or this device's
name for it, and rotate the KEK, so that they can read nothing that is written from now
on, and write nothing. It asks for your passphrase, unlocked or not; you have to be an
owner of the vault.

What they could read until now they may have kept. The keys that are printed should be
replaced on the servers that trust them.`,
		Example: `  vigilctl identity remove desktop`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Identities = args
			if !yes {
				if err := a.confirmIdentities(cmd.Context(), req.Identities); err != nil {
					return err
				}
			}
			return sendWithPassphrase(cmd.Context(), a, pass, yourPassphrase, &req, &req.Passphrase, printRemoved)
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
	yes, err := t.confirm(ctx, fmt.Sprintf("Shut out %s for good?", names))
	if err == nil && !yes {
		err = control.Errorf(control.CodeInterrupted, "", "nothing was changed")
	}
	return err
}

func printRemoved(w io.Writer, reply *control.IdentityRemoveReply) {
	for _, i := range reply.Identities {
		printf(w, "removed %s\n", identityLine(i))
	}
	if len(reply.Replace) == 0 {
		return
	}
	printf(w, "These keys could be read; replace them on servers:\n")
	for _, k := range reply.Replace {
		printKeyLine(w, "  ", k)
	}
}
