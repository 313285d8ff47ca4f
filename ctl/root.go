package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/buildid"
	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/paths"
)

const rootHelp = `vigilctl keeps your SSH keys in an encrypted vault and serves them to ssh and git.

Start with "vigilctl up": it makes a vault on its first run, starts the daemon,
unlocks, and prints what your shell needs.

Secrets are never arguments or environment variables. They are asked for on the
terminal, or come from --passphrase-fd N or --passphrase-file FILE ("-" is
standard input).

Colours are for terminals; NO_COLOR turns them off.

Exit status: 0 done, 1 failed, 2 usage, 3 locked, 4 wrong passphrase, 5 no
daemon, 6 backend or KMS unreachable, 7 refused or revoked.`

// Command groups in the help.
const (
	groupDaily = "daily"
	groupKeys  = "keys"
	groupVault = "vault"
	groupAbout = "about"
)

// root returns the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "vigilctl",
		Short:         "SSH keys in an encrypted vault",
		Long:          rootHelp,
		Example:       `  eval "$(vigilctl up)"`,
		Version:       buildid.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,

		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			p, err := paths.FromEnviron(a.environ)
			if err != nil {
				return control.Errorf(control.CodeFailed, "Set HOME, or the XDG variables.", "find Vigil's folders: %v", err)
			}
			a.paths = p
			a.findDaemon()
			return nil
		},
	}
	root.SetHelpFunc(a.showHelp)
	root.SetFlagErrorFunc(flagError)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, and errors as JSON on standard error")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupDaily, Title: "Every day:"},
		&cobra.Group{ID: groupKeys, Title: "Keys:"},
		&cobra.Group{ID: groupVault, Title: "Vaults:"},
		&cobra.Group{ID: groupAbout, Title: "About the daemon:"},
	)
	root.SetHelpCommandGroupID(groupAbout)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			a.ready(c)
			root.AddCommand(c)
		}
	}
	add(groupDaily, a.upCommand(), a.downCommand(), a.unlockCommand(), a.lockCommand(), a.statusCommand(), a.envCommand(), a.askCommand())
	add(groupKeys, a.listCommand(), a.showCommand(), a.addCommand(), a.generateCommand(), a.editCommand(), a.rmCommand(), a.exportCommand(), a.gitSigningCommand())
	add(groupVault, a.initCommand(), a.refreshCommand(), a.identityCommand(), a.passphraseCommand(), a.rotateCommand(), a.masterCommand(), a.backendCommand(), a.vaultCommand(), a.keyringCommand(), a.forgetCommand())
	add(groupAbout, a.serviceCommand(), a.sessionCommand(), a.doctorCommand(), a.whyCommand(), a.grantsCommand(), a.completionCommand(), a.versionCommand())
	return root
}

// ready makes a command distinguish its own errors from those of its flags, say what
// arguments it takes, and refuse an invalid --vault before it sends anything.
func (a *app) ready(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	if valid := c.Args; valid != nil && !c.HasSubCommands() {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if valid(cmd, args) == nil {
				return nil
			}
			given := checkup.Count(len(args), "argument")
			if len(args) == 0 {
				given = "nothing"
			}
			return fmt.Errorf("got %s, want: %s", given, cmd.UseLine())
		}
	}
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a.running = true // cobra checks required flags late
		if vault := cmd.Flags().Lookup("vault"); vault != nil {
			if err := checkVault(vault.Value.String()); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
}

// knownCommand refuses an unknown command, and suggests the nearest ones.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// vaultFlag adds --vault to a command.
func vaultFlag(cmd *cobra.Command, vault *string, without string) {
	cmd.Flags().StringVar(vault, "vault", "", "`NAME` of the vault (without it: "+without+")")
}

// checkVault refuses an invalid vault name.
func checkVault(name string) error {
	if name == "" {
		return nil
	}
	if err := paths.CheckName(name); err != nil {
		return control.Errorf(control.CodeUsage, "Vaults have short names, such as work-2.", "vault: %v", err)
	}
	return nil
}
