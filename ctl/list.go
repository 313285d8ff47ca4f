package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/printable"
)

func (a *app) listCommand() *cobra.Command {
	var vault, host, file string
	cmd := &cobra.Command{
		Use:     "list [--vault NAME] [--host HOST [--ssh-config FILE]]",
		Aliases: []string{"ls"},
		Short:   "List keys, as ssh-add -l does, with their names",
		Long: `List the keys that the agent offers: those added by ssh-add, then those of the
vaults, locked or not; post-quantum keys last, which many clients don't know. A line
shows the key's bits, fingerprint, name and comment, type and state, and its vault if
there are several.

With --host, list what ssh would offer to a host and in which order, which keys
it would not and why, and where a server that allows six tries, as sshd does by
default, ends the login with "Too many authentication failures". HOST is what
you would give to ssh, whose configuration is asked ("ssh -G"). Hosts of
restricted keys are looked up in known_hosts.`,
		Example: `  vigilctl list
  vigilctl list --vault work --json
  vigilctl list --host git@github.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if host == "" && file != "" {
				return control.Errorf(control.CodeUsage, "", "--ssh-config is for --host")
			}
			if host != "" {
				return a.listHost(cmd.Context(), host, file)
			}
			reply, err := call(cmd.Context(), a, &control.ListRequest{Vault: vault, Short: !a.json})
			if err != nil {
				return err
			}
			if len(reply.Keys) == 0 {
				a.say("No keys. `vigilctl generate NAME` makes one, `vigilctl add FILE` imports one.")
			}
			return a.print(reply, func(w io.Writer) {
				for _, k := range reply.Keys {
					a.printKeyLine(w, "", k)
				}
			})
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "list what ssh offers to `HOST`")
	cmd.Flags().StringVar(&file, "ssh-config", "", "ssh's configuration `FILE`, as for ssh -F")
	vaultFlag(cmd, &vault, "everything the agent lists")
	cmd.MarkFlagsMutuallyExclusive("host", "vault")
	return cmd
}

// completeKey completes the KEY argument from the daemon's list.
func (a *app) completeKey(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 || cmd.Root().PersistentPreRunE(cmd, nil) != nil {
		return nil, none
	}
	reply, err := call(cmd.Context(), a, &control.ListRequest{Short: true})
	if err != nil {
		return nil, none
	}
	var names []string
	for _, k := range reply.Keys {
		if k.Name != "" {
			names = append(names, printable.Line(k.Name)+"\t"+printable.Line(k.Comment))
		}
	}
	return names, none
}
