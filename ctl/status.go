package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/doctor"
	"vigil/internal/systemd"

	"vigil/internal/paths"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the daemon, its vaults and its processes",
		Long: `Show the daemon, whether its vaults are unlocked, where its sockets are, how its
processes are sandboxed, where SSH_AUTH_SOCK leads in this shell if not to it, and how many calls were made to a KMS. A keyring's epoch
counts its changes; its KEK (key-encryption key) is numbered by "vigilctl rotate".`,
		Example: `  vigilctl status
  vigilctl status --json | jq -r '.vaults[] | .name + " " + .state'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return send(cmd.Context(), a, &control.StatusRequest{}, func(w io.Writer, st *control.StatusReply) {
				printStatus(w, st)
				a.printShell(w, st.AgentSocket)
			})
		},
	}
}

// printShell says where this shell's SSH_AUTH_SOCK leads, if not to the daemon.
func (a *app) printShell(w io.Writer, ours string) {
	const elsewhere = "`vigilctl service status` shows where else it leads"
	switch socket := a.env(paths.SocketVariable); {
	case socket == "":
		printf(w, "%s isn't set in this shell: eval \"$(vigilctl env)\"\n", paths.SocketVariable)
	case systemd.Forwarded(a.env, ours):
		printf(w, "%s in this shell is a forwarded agent, not Vigil; %s\n", paths.SocketVariable, elsewhere)
	case !doctor.Same(socket, ours):
		printf(w, "%s in this shell leads to %s, served by %s, not to Vigil; %s\n", paths.SocketVariable, socket, doctor.ServedBy(socket), elsewhere)
	}
}

func printStatus(w io.Writer, st *control.StatusReply) {
	printf(w, "vigild %s (build %s), pid %d, up %s\n", st.Version, st.Build, st.PID, time.Duration(st.UptimeSeconds)*time.Second)
	printf(w, "  agent    %s\n  control  %s\n  config   %s\n", st.AgentSocket, st.ControlSocket, st.Config)
	if st.LogFile != "" {
		printf(w, "  log      %s\n", st.LogFile)
	}
	if len(st.LockOn) > 0 {
		printf(w, "  lock on  %s", strings.Join(st.LockOn, ", "))
		if st.LockOnProblem != "" {
			printf(w, "; not told of it now: %s", st.LockOnProblem)
		}
		printf(w, "\n")
	}
	if st.ConfigErr != "" {
		printf(w, "  the config on disk isn't in use: %s\n", st.ConfigErr)
	}
	if len(st.Vaults) == 0 {
		printf(w, "no vault yet: `vigilctl up` makes one. Until then it is an agent for what ssh-add brings\n")
	}
	for _, v := range st.Vaults {
		printVault(w, v)
	}
	printf(w, "added by ssh-add: %s", checkup.Count(st.AddedKeys, "key"))
	if st.AgentLocked {
		printf(w, "; everything is hidden by ssh-add -x until ssh-add -X")
	}
	printf(w, "\n")
	printAsked(w, st)
	if st.Touch != "" {
		printf(w, "waiting: %s\n", st.Touch)
	}
	printf(w, "processes:\n")
	for _, p := range st.Processes {
		printProcess(w, p)
	}
	k := st.KMSCalls
	printf(w, "KMS calls: %d GenerateDataKey, %d Decrypt, %d Encrypt, %d ReEncrypt, %d DescribeKey, %d failed\n",
		k.GenerateDataKey, k.Decrypt, k.Encrypt, k.ReEncrypt, k.DescribeKey, k.Failed)
	if st.Refusals > 0 {
		printf(w, "refused: %d (`vigilctl why` says why)\n", st.Refusals)
	}
	for _, text := range st.Warnings {
		printf(w, "%s %s\n", painted{"warning:", warning}, text)
	}
}

// printAsked says where people can be asked, but for desktops.
func printAsked(w io.Writer, st *control.StatusReply) {
	var at []string
	if st.Sessions > 0 {
		at = append(at, checkup.Count(st.Sessions, "registered session"))
	}
	if st.Standbys > 0 {
		at = append(at, checkup.Count(st.Standbys, "`vigilctl ask`"))
	}
	if len(at) > 0 {
		printf(w, "asked in terminals: %s\n", strings.Join(at, ", "))
	}
}

func printVault(w io.Writer, v control.VaultStatus) {
	state := string(v.State)
	if v.State == control.VaultUnlocked && v.Offline {
		state = "unlocked offline"
	}
	printf(w, "vault %s: %s", v.Name, paintState(v.State, state))
	if v.State != control.VaultMissing {
		printf(w, ", %s", checkup.Count(v.Keys, "key"))
	}
	if v.Waiting > 0 {
		printf(w, ", %s without a key yet", checkup.Count(v.Waiting, "line"))
	}
	if v.Pending > 0 {
		printf(w, ", %s on this device only", checkup.Count(v.Pending, "change"))
	}
	printf(w, "\n  file     %s\n", v.Path)
	for _, part := range []struct{ name, value string }{
		{"backend", v.Backend},
		{"master", v.Master},
		{"id", v.ID},
		{"asking", asking(v)},
		{"idle", until(v.IdleEnds)},
		{"lease", leaseUntil(v)},
		{"at most", until(v.UnlockedUntil)},
		{"offline", offlineUntil(v)},
		{"slowed", until(v.RetryAfter)},
		{"rotation", v.Rotation},
		{"damaged", strings.Join(v.Damaged, ", ")},
		{"missing", missing(v)},
		{"problem", v.Problem},
		{"next", v.Next},
	} {
		if part.value != "" {
			printf(w, "  %-8s %s\n", part.name, part.value)
		}
	}
	if v.LastRefresh != nil {
		printf(w, "  keyring  epoch %d, KEK %d, refreshed %s\n", v.Epoch, v.KEKVersion, stamp(*v.LastRefresh))
	}
}

// asking returns what waits for a prompt, which may be on another screen.
func asking(v control.VaultStatus) string {
	if v.Asking == 0 {
		return ""
	}
	return "for the passphrase, for " + checkup.Count(v.Asking, "signature")
}

// missing returns the keys of which the vault file lacks the newest revision.
func missing(v control.VaultStatus) string {
	if len(v.Missing) == 0 {
		return ""
	}
	return "the newest revision of " + strings.Join(v.Missing, ", ") + " is not in the file: vigilctl doctor says what to do"
}

// leaseUntil returns how long the vault stays unlocked, and since when access
// could not be checked.
func leaseUntil(v control.VaultStatus) string {
	switch {
	case v.LeaseEnds == nil:
		return ""
	case v.LastProof == nil:
		return until(v.LeaseEnds) + ", not proved since an unlock without network"
	}
	return until(v.LeaseEnds) + ", last proof by the master key " + stamp(*v.LastProof)
}

// offlineUntil returns how long the vault can be unlocked without network, and
// where the key for that is.
func offlineUntil(v control.VaultStatus) string {
	if v.OfflineUntil == nil || v.DeviceKey == "" {
		return until(v.OfflineUntil)
	}
	return until(v.OfflineUntil) + ", device key in: " + v.DeviceKey
}

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return "until " + stamp(*t)
}

func printProcess(w io.Writer, p control.ProcessStatus) {
	what := p.Role
	if p.Role == "keeper" {
		what = "keeper of the keys added by ssh-add"
		if p.Vault != "" {
			what = "keeper of vault " + p.Vault
		}
	}
	printf(w, "  %d %s", p.PID, what)
	if p.ResidentBytes > 0 {
		printf(w, ", %.1f MiB", float64(p.ResidentBytes)/(1<<20))
	}
	if p.Guarded != nil {
		printf(w, ", guarded memory %s %d of %d KiB", p.Guarded.Kind, p.Guarded.Used>>10, p.Guarded.Size>>10)
	}
	printf(w, "\n")
	if p.Dumpable {
		printf(w, "    can be read by other programs of this user: install it with mode 0711 and owner root, or 0111\n")
	}
	if len(p.Sandbox) > 0 {
		printf(w, "    sandbox: %s\n", strings.Join(p.Sandbox, ", "))
	}
	if len(p.Missing) > 0 {
		printf(w, "    missing: %s\n", strings.Join(p.Missing, ", "))
	}
}
