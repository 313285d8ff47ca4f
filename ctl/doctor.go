package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/doctor"
	"vigil/internal/policy"
)

func (a *app) doctorCommand() *cobra.Command {
	var vault string
	cmd := &cobra.Command{
		Use:   "doctor [--vault NAME]",
		Short: "Check the installation and suggest fixes",
		Long: `Check the configuration, the modes of files and programs, sockets, other agents that
set SSH_AUTH_SOCK, the kernel, the service, and through the daemon: what the agent lists
and whether a key signs, the memory lock limit, each vault's file, lease, what it keeps for an unlock without network, clock, whether its backend answers and supports
compare-and-swap, which old keyrings it keeps, and the master key.

Each line shows what was checked, the result, and what to do about it. The exit
status is 0 if no check fails; warnings don't count. Without a daemon, the checks that
need one are left out. For a master key in a KMS, each vault costs one DescribeKey and
one Decrypt; in the backend, the check writes an object named "probe".

What ssh offers to a host is shown by "vigilctl list --host HOST".`,
		Example: `  vigilctl doctor
  vigilctl doctor --json | jq -r '.checks[] | select(.result != "ok") | .next'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := a.examine(cmd.Context(), vault)
			if err != nil {
				return err
			}
			if err := a.print(reply, func(w io.Writer) { printChecks(w, reply.Checks) }); err != nil {
				return err
			}
			if checkup.Failed(reply.Checks) {
				return errFailedCheck
			}
			return nil
		},
	}
	vaultFlag(cmd, &vault, "all")
	return cmd
}

// errFailedCheck ends doctor with status 1. The failed checks have been printed.
var errFailedCheck = control.Errorf(control.CodeFailed, "", "a check failed")

// examine does the checks of this process, then the daemon's.
func (a *app) examine(ctx context.Context, vault string) (*control.DoctorReply, error) {
	reply := &control.DoctorReply{}
	program, err := a.vigild()
	if err != nil {
		return nil, err
	}
	reply.Checks = doctor.Local(doctor.Place{Paths: a.paths, Getenv: a.env, Programs: filepath.Dir(program)})
	reply.Checks = append(reply.Checks, a.examineService(ctx)...)
	daemons, err := call(ctx, a, &control.DoctorRequest{Vault: vault})
	var e *control.Error
	switch {
	case err == nil:
		reply.Checks = append(reply.Checks, a.examineAgent(ctx))
		reply.Checks = append(reply.Checks, daemons.Checks...)
	case errors.As(err, &e) && (e.Code == control.CodeNoDaemon || e.Code == control.CodeOtherBuild):
		reply.Checks = append(reply.Checks, checkup.Failure("daemon", e.Next,
			"%s; not checked without it: lock limit, vault files, leases, backends, master keys", e.Message))
	default:
		return nil, err
	}
	return reply, nil
}

// examineService checks the service, where there is a manager that could run it.
func (a *app) examineService(ctx context.Context) []checkup.Check {
	if a.goos == macOS {
		l, s, err := a.agentLogin(ctx)
		if err != nil {
			return nil
		}
		return doctor.LaunchAgent(s, l.Socket)
	}
	l, err := a.login()
	if err != nil {
		return nil
	}
	s, err := l.Look(ctx)
	if err != nil {
		return nil
	}
	return doctor.Service(s, l.Socket)
}

// examineAgent talks to the agent as ssh does. The daemon says which keys ask nobody.
func (a *app) examineAgent(ctx context.Context) checkup.Check {
	var freely []string
	if list, err := call(ctx, a, &control.ListRequest{Short: true}); err == nil {
		for _, k := range list.Keys {
			if k.State == control.KeyUsable && !k.Confirm && asksRarely(k) && len(k.Destinations) == 0 && !strings.HasPrefix(k.Type, "sk-") {
				freely = append(freely, k.Fingerprint)
			}
		}
	}
	return doctor.Agent(ctx, a.paths.AgentSocket(), freely)
}

// asksRarely reports whether a key signs a local file without a question.
func asksRarely(k control.Key) bool {
	return k.Approve == "" || k.Approve == string(policy.ApproveNever)
}

// printChecks writes a line for each check, followed by what to do if it isn't ok.
func printChecks(w io.Writer, checks []checkup.Check) {
	wide := 0
	for _, c := range checks {
		wide = max(wide, len(c.What))
	}
	about := ""
	counts := map[checkup.Result]int{}
	for _, c := range checks {
		counts[c.Result]++
		if c.Vault != about {
			about = c.Vault
			printf(w, "vault %s:\n", about)
		}
		detail := strings.ReplaceAll(c.Detail, "\n", " ")
		printf(w, "%s  %-*s  %s\n", paintResult(c.Result, fmt.Sprintf("%-4s", c.Result)), wide, c.What, detail)
		if c.Next != "" && c.Result != checkup.OK {
			printf(w, "%*s  → %s\n", wide+6, "", c.Next)
		}
	}
	printf(w, "%d ok, %s, %d failed\n", counts[checkup.OK], checkup.Count(counts[checkup.Warn], "warning"), counts[checkup.Fail])
}
