package main

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
	"vigil/internal/printable"

	"vigil/internal/paths"
)

func (a *app) gitSigningCommand() *cobra.Command {
	s := &gitSigning{app: a, scope: "--local", result: gitSigningResult{Changes: []gitSetting{}}}
	var global bool
	cmd := &cobra.Command{
		Use:   "git-signing [KEY] [--global] [--commits] [--vault NAME]",
		Short: "Have git sign with a key of a vault",
		Long: `Set up git to sign commits and tags with a key: gpg.format, user.signingkey and
gpg.ssh.allowedSignersFile, in the repository of the working folder or, with
--global, for all of yours. It shows each setting's old value and how to go back.

Without KEY it takes the vault's only key that can sign for git, or the one
that is set already. The key is named by its public half, so no file in ~/.ssh
is needed. An allowed signers file that is set is added to; otherwise one is
made in git's configuration folder.

git then signs what you ask it to (git commit -S, git tag -s), or, with
--commits, every commit. While the vault is locked these fail.`,
		Example: `  vigilctl git-signing --global
  vigilctl git-signing work-key --commits`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if global {
				s.scope = "--global"
			}
			if len(args) == 1 {
				s.name = args[0]
			}
			if err := s.run(cmd.Context()); err != nil {
				return err
			}
			if a.env(paths.SocketVariable) != a.paths.AgentSocket() {
				a.say("This shell uses another agent, which git will ask: eval \"$(vigilctl env)\"")
			}
			return a.print(s.result, func(w io.Writer) { a.printGitSigning(w, &s.result) })
		},
	}
	cmd.Flags().BoolVar(&global, "global", false, "for all of this user's repositories")
	cmd.Flags().BoolVar(&s.commits, "commits", false, "sign every commit (commit.gpgsign)")
	vaultFlag(cmd, &s.vault, "any")
	return cmd
}

// gitSigning is one run of `vigilctl git-signing`.
type gitSigning struct {
	*app
	git     *git
	scope   string // git config's option for the file to change
	vault   string
	name    string // the key's, or ""
	commits bool
	root    string // of the repository's files; "" if there are none
	result  gitSigningResult
}

// gitSigningResult is what `git-signing --json` prints.
type gitSigningResult struct {
	Key     control.Key  `json:"key"`
	Changes []gitSetting `json:"changes"`
	// AllowedSigners is the file; SignerAdded says whether a line was added to it.
	AllowedSigners string `json:"allowed_signers"`
	SignerAdded    bool   `json:"signer_added"`
}

// gitSetting is a variable of git's that was changed.
type gitSetting struct {
	Name string   `json:"name"`
	Old  []string `json:"old"` // its values in the same file before
	New  string   `json:"new"`
	Undo []string `json:"undo"` // commands
}

// The variables of git's that say what signs and what is trusted.
const (
	signingKey     = "user.signingkey"
	allowedSigners = "gpg.ssh.allowedSignersFile"
	sshProgram     = "gpg.ssh.program"
)

func (s *gitSigning) run(ctx context.Context) (err error) {
	if s.git, err = s.findGit(ctx); err != nil {
		return err
	}
	s.root, err = s.git.worktree(ctx)
	if err != nil && s.scope == "--local" {
		return err
	}
	email, err := s.git.value(ctx, "user.email", s.reads()...)
	if err == nil {
		err = checkSigner(email)
	}
	if err != nil {
		return err
	}
	set, err := s.git.value(ctx, signingKey, s.reads()...)
	if err != nil {
		return err
	}
	key, err := s.choose(ctx, set)
	if err != nil {
		return err
	}
	s.result.Key = *key
	if s.result.AllowedSigners, err = s.signersFile(ctx); err != nil {
		return err
	}
	if s.result.SignerAdded, err = allowSigner(s.result.AllowedSigners, email, key.PublicKey); err != nil {
		return err
	}
	return s.configure(ctx, set)
}

// reads returns the options of git config that read what will count where it is set.
func (s *gitSigning) reads() []string {
	if s.scope == "--local" {
		return nil // the user's own settings count too
	}
	return []string{s.scope, "--includes"}
}

// configure sets the variables. What makes git sign comes last, so that an interruption
// leaves nothing half set.
func (s *gitSigning) configure(ctx context.Context, set string) error {
	signers, err := s.git.value(ctx, allowedSigners, s.reads()...)
	if err == nil && signers == "" {
		err = s.change(ctx, allowedSigners, s.result.AllowedSigners)
	}
	if err != nil {
		return err
	}
	// Another agent's program, such as 1Password's op-ssh-sign, would not ask this one.
	program, err := s.git.value(ctx, sshProgram, s.reads()...)
	if err == nil && program != "" && filepath.Base(program) != "ssh-keygen" {
		err = s.change(ctx, sshProgram, "ssh-keygen")
	}
	if err == nil && !signsWith(set, &s.result.Key) {
		err = s.change(ctx, signingKey, "key::"+s.result.Key.PublicKey)
	}
	if err == nil {
		err = s.change(ctx, "gpg.format", "ssh")
	}
	if err == nil && s.commits {
		err = s.change(ctx, "commit.gpgsign", "true")
	}
	return err
}

// change sets a variable, unless it has this value, and says so if another file's value
// counts nevertheless.
func (s *gitSigning) change(ctx context.Context, name, value string) error {
	old, err := s.git.values(ctx, name, s.scope)
	if err != nil {
		return err
	}
	if !slices.Equal(old, []string{value}) {
		if err := s.git.set(ctx, s.scope, name, value); err != nil {
			return err
		}
		s.result.Changes = append(s.result.Changes, gitSetting{name, old, value, undo(s.scope, name, old)})
	}
	if now, err := s.git.value(ctx, name); err == nil && now != value {
		s.say("%s has another value here. Where it is set: git config --show-origin %s", name, name)
	}
	return nil
}

// undo returns the commands that give a variable its old values back.
func undo(scope, name string, old []string) (commands []string) {
	git := "git config " + scope + " "
	if len(old) == 0 {
		return []string{git + "--unset " + name}
	}
	for i, value := range old {
		how := "--add "
		if i == 0 {
			how = "--replace-all "
		}
		commands = append(commands, git+how+name+" "+printable.Word(value))
	}
	return commands
}

// signersFile returns the path of the allowed signers file: the one that is set, or else
// one in git's configuration folder, as nothing in ~/.ssh is Vigil's to change.
func (s *gitSigning) signersFile(ctx context.Context) (string, error) {
	path, err := s.git.value(ctx, allowedSigners, append(s.reads(), "--type=path")...)
	switch {
	case err != nil:
		return "", err
	case path == "":
		return filepath.Join(filepath.Dir(s.paths.Config), "git", "allowed_signers"), nil
	case filepath.IsAbs(path):
		return path, nil
	case s.root == "" || s.scope == "--global":
		return "", control.Errorf(control.CodeFailed, "Set it to an absolute path, or leave --global out in a repository that has the file.",
			"%s is %q, relative to each repository", allowedSigners, path)
	}
	return filepath.Join(s.root, path), nil // git goes to the root before it reads it
}

// choose returns the key to sign with: the one that is named, the one that is set
// already, or the only one.
func (s *gitSigning) choose(ctx context.Context, set string) (*control.Key, error) {
	if s.name != "" {
		reply, err := call(ctx, s.app, &control.ShowRequest{Vault: s.vault, Key: s.name})
		if err != nil {
			return nil, err
		}
		if why := unfitForGit(&reply.Key); why != "" {
			return nil, control.Errorf(control.CodeFailed, "Name another key.", "%s can't sign for git: %s", s.name, why)
		}
		return &reply.Key, nil
	}
	reply, err := call(ctx, s.app, &control.ListRequest{Vault: s.vault})
	if err != nil {
		return nil, err
	}
	fit := slices.DeleteFunc(reply.Keys, func(k control.Key) bool { return k.Vault == "" || unfitForGit(&k) != "" })
	if i := slices.IndexFunc(fit, func(k control.Key) bool { return signsWith(set, &k) }); i >= 0 {
		return &fit[i], nil
	}
	switch len(fit) {
	case 0:
		return nil, control.Errorf(control.CodeFailed, "`vigilctl generate NAME` makes one, `vigilctl add FILE` imports one.", "no vault has a key that can sign for git")
	case 1:
		return &fit[0], nil
	}
	e := control.Errorf(control.CodeUsage, "Name one: vigilctl git-signing KEY", "several keys can sign for git")
	for _, k := range fit {
		e.Details = append(e.Details, s.keyLine(k))
	}
	return nil, e
}

// signsWith reports whether a value of user.signingkey is this key.
func signsWith(value string, k *control.Key) bool {
	fields := strings.Fields(strings.TrimPrefix(value, "key::"))
	return len(fields) >= 2 && fields[0]+" "+fields[1] == k.PublicKey
}

// unfitForGit returns why a key can't sign for git, or "".
func unfitForGit(k *control.Key) string {
	switch {
	case k.State == control.KeyDamaged || k.State == control.KeyHeld:
		return k.Problem
	case len(k.Destinations) > 0:
		return "it is restricted to logins at " + strings.Join(k.Destinations, ", ")
	}
	return ""
}

func (a *app) printGitSigning(w io.Writer, r *gitSigningResult) {
	printf(w, "git signs with %s\n", a.keyLine(r.Key))
	if r.SignerAdded {
		printf(w, "added to %s\n", r.AllowedSigners)
	}
	if len(r.Changes) == 0 {
		printf(w, "Its settings are as they were.\n")
		return
	}
	for _, c := range r.Changes {
		old := strings.Join(c.Old, ", ")
		if old == "" {
			old = "not set"
		}
		printf(w, "%s\n  was: %s\n  now: %s\n", c.Name, old, c.New)
	}
	printf(w, "To go back:\n")
	for _, c := range r.Changes {
		for _, command := range c.Undo {
			printf(w, "  %s\n", command)
		}
	}
}
