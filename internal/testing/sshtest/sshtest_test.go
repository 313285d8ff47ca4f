package sshtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m) }

func TestTestsRunUnprivileged(t *testing.T) {
	if os.Getuid() == 0 {
		t.Fatal("tests run as root")
	}
	if got := os.TempDir(); !strings.HasPrefix(got, sshtest.World()) {
		t.Errorf("temporary files go to %s, want below %s", got, sshtest.World())
	}
}

func TestLogInWithAKeyInTheAgent(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	execute(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	host, err := sshtest.StartHost(sshtest.HostOptions{Name: "alpha", Dir: dir, AuthorizedKeys: key + ".pub"})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	agentDir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "a")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := sshtest.StartOpenSSHAgent(agentDir, "ssh-agent")
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	env := []string{"SSH_AUTH_SOCK=" + agent.Socket}
	execute(t, env, "ssh-add", "-q", key)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}

	block, err := host.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	known, err := host.KnownHost()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "ssh_config")
	write(t, config, block+"UserKnownHostsFile "+filepath.Join(dir, "known_hosts")+"\n")
	write(t, filepath.Join(dir, "known_hosts"), known)
	if got := execute(t, env, "ssh", "-F", config, "alpha", "echo in"); got != "in\n" {
		log, _ := os.ReadFile(host.LogFile)
		t.Errorf("ssh printed %q, want %q; sshd's log:\n%s", got, "in\n", log)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}
