package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl", "vigil-meter") }

// provider is an agent that the scripts of testdata/agent run against: how it
// starts, and how a key gets into it.
type provider struct {
	name  string
	start func(ts *testscript.TestScript)
	// load puts private key files into the agent, with options as of ssh-add.
	load func(ts *testscript.TestScript, files []string)
	// tags are conditions of scripts that hold for this provider.
	tags map[string]bool
}

// passphrase opens the vaults of tests; scripts find it in the file $PASS.
const passphrase = "correct horse battery staple"

// TestSSHAgent shows that the scripts ask for nothing that an agent doesn't do.
func TestSSHAgent(t *testing.T) {
	runScripts(t, "testdata/agent", provider{
		name: "openssh",
		start: func(ts *testscript.TestScript) {
			a, err := sshtest.StartOpenSSHAgent(shortDir(ts), "env",
				"SSH_ASKPASS="+ts.Getenv("SSH_ASKPASS"), "SSH_ASKPASS_REQUIRE="+ts.Getenv("SSH_ASKPASS_REQUIRE"), "ssh-agent")
			ts.Check(err)
			serveBy(ts, a)
		},
		load: sshAdd,
		tags: map[string]bool{"ssh-add": true},
	})
}

// TestVigildAgent runs them against vigild without a vault.
func TestVigildAgent(t *testing.T) {
	binary := sshtest.Binary(t, "vigild")
	runScripts(t, "testdata/agent", provider{
		name: "vigild",
		start: func(ts *testscript.TestScript) {
			a, err := sshtest.StartVigild(shortDir(ts), binary,
				"SSH_ASKPASS="+ts.Getenv("SSH_ASKPASS"), "SSH_ASKPASS_REQUIRE="+ts.Getenv("SSH_ASKPASS_REQUIRE"))
			ts.Check(err)
			serveBy(ts, a)
		},
		load: sshAdd,
		tags: map[string]bool{"ssh-add": true},
	})
}

// TestVaultAgent runs them against vigild with the keys imported into a vault.
func TestVaultAgent(t *testing.T) {
	sshtest.Binary(t, "vigild")
	sshtest.Binary(t, "vigil-opener")
	sshtest.Binary(t, "vigilctl")
	runScripts(t, "testdata/agent", provider{
		name: "vault",
		start: func(ts *testscript.TestScript) {
			approveNothing(ts)
			startDaemon(ts)
			ts.Check(ts.Exec("vigilctl", initArguments(ts)...))
		},
		load: vaultAdd,
		tags: map[string]bool{"vault": true},
	})
}

// TestVigil runs what only Vigil does.
func TestVigil(t *testing.T) {
	for _, name := range []string{"vigild", "vigil-opener", "vigilctl"} {
		sshtest.Binary(t, name)
	}
	runScripts(t, "testdata/vault", provider{
		name:  "vigil",
		start: startDaemon,
		load:  vaultAdd,
		tags:  map[string]bool{"vault": true},
	})
}

func runScripts(t *testing.T, dir string, p provider) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		WorkdirRoot:         scriptRoot(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setUp(env) },
		Cmds:                commands(p),
		Condition: func(cond string) (bool, error) {
			switch {
			case p.tags[cond]:
				return true, nil
			case cond == "vault", cond == "ssh-add":
				return false, nil
			case cond == "sk-dummy":
				_, err := os.Stat("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
				return err == nil, nil
			case cond == "race":
				return sshtest.RaceEnabled, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// scriptRoot returns a directory for the scripts' own, short enough for sockets.
func scriptRoot(t *testing.T) string {
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// clientDefaults begin each script's ssh configuration: nothing outside the
// script's directory is read, and nothing is asked. OpenSSH's own choice of a key
// exchange, sntrup761, takes the client longer than the rest of a script.
const clientDefaults = `Host *
  UserKnownHostsFile %[1]s/known_hosts
  GlobalKnownHostsFile /dev/null
  IdentityFile none
  BatchMode yes
  StrictHostKeyChecking yes
  ConnectTimeout 30
  KexAlgorithms curve25519-sha256
`

// setUp gives a script a home of its own.
func setUp(env *testscript.Env) error {
	w := env.WorkDir
	u, err := user.Current()
	if err != nil {
		return err
	}
	home := filepath.Join(w, "home")
	for _, setting := range sshtest.VigilEnvironment(home) {
		name, value, _ := strings.Cut(setting, "=")
		env.Setenv(name, value)
	}
	tool, err := sshtest.Tool("ssh")
	if err != nil {
		return err
	}
	env.Setenv("PATH", strings.Join([]string{sshtest.BinaryDir(), filepath.Dir(tool), env.Getenv("PATH")}, string(os.PathListSeparator)))
	env.Setenv("GORACE", os.Getenv("GORACE")) // of binaries with the race detector (sshtest)
	env.Setenv("USER", u.Username)
	env.Setenv("LOGNAME", u.Username)
	env.Setenv("SSH", filepath.Join(w, "ssh_config"))
	env.Setenv("PASS", filepath.Join(w, "passphrase"))
	env.Values[testKey{}] = env.T().(testing.TB)
	env.Defer(func() { stopDaemon(env.Vars) })
	env.Setenv("GIT_SSH_COMMAND", "ssh -F "+filepath.Join(w, "ssh_config"))
	env.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(w, "gitconfig"))
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	return errors.Join(
		os.WriteFile(filepath.Join(w, "passphrase"), []byte(passphrase+"\n"), 0o600),
		os.WriteFile(filepath.Join(w, "known_hosts"), nil, 0o600),
		os.WriteFile(filepath.Join(w, "authorized_keys"), nil, 0o600),
		os.WriteFile(filepath.Join(w, "ssh_config"), fmt.Appendf(nil, clientDefaults, w), 0o600),
		os.WriteFile(filepath.Join(w, "gitconfig"), []byte("[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n"), 0o600),
	)
}

// shortDir makes a directory for an agent whose name leaves room for a socket's.
func shortDir(ts *testscript.TestScript) string {
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "a")
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	return dir
}

func serveBy(ts *testscript.TestScript, a *sshtest.Agent) {
	ts.Setenv("SSH_AUTH_SOCK", a.Socket)
	ts.Defer(func() {
		if log, err := os.ReadFile(a.LogFile); err == nil && len(log) > 0 {
			ts.Logf("agent's log:\n%s", log)
		}
		if err := a.Close(); err != nil {
			ts.Logf("stop the agent: %v", err)
		}
	})
}

func sshAdd(ts *testscript.TestScript, files []string) {
	ts.Check(ts.Exec("ssh-add", append([]string{"-q"}, files...)...))
}

// exitStatus returns the status a command ended with, given what Exec returned.
func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
