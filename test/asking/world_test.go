package asking

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

const passphrase = "correct horse battery staple"

// person is a home whose vault is locked, and asks; someone answers as the files of the
// folder say.
type person struct {
	*sshtest.Home
	config string // of ssh, for a host that its key may log in to
	host   *sshtest.Host
}

// askpass writes an askpass program, which notes what it is asked in the file asked of the
// home, and prints what the file answer has. While there is a file wait, it waits.
func askpass(h *sshtest.Home) string {
	path := h.Write("askpass", `#!/bin/sh
cd "`+h.Dir+`"
printf '%s\n--\n' "$1" >>asked
while [ -e wait ]; do sleep 0.01; done
[ -e answer ] || exit 1
read -r line <answer
sed -i 1d answer
printf '%s\n' "$line"
`)
	if err := os.Chmod(path, 0o700); err != nil {
		h.Fatal(err)
	}
	return path
}

// newPerson returns a person with a locked vault. The environment is vigild's.
func newPerson(t *testing.T, config string, environ func(*sshtest.Home) []string) *person {
	t.Helper()
	p := &person{Home: sshtest.NewHome(t, passphrase)}
	p.Env = append(p.Env, environ(p.Home)...)
	p.Write("config/vigil/config.toml", "[vault.default]\n"+config)
	p.Start()
	p.OK(p.By("init")...)
	p.Unlock()
	p.AddKey("laptop")
	authorized := p.Path("laptop.pub")
	if err := os.Remove(p.Path("laptop")); err != nil {
		t.Fatal(err)
	}
	var block, known string
	p.host, block, known = p.newHost("alpha", p.Dir, authorized)
	p.config = p.Write("ssh_config", block+"UserKnownHostsFile "+p.Write("known_hosts", known)+"\n")
	p.OK("lock")
	return p
}

// newHost starts a host that authorized keys may log in to, and returns its block of ssh's
// configuration and its line of known_hosts.
func (p *person) newHost(name, dir, authorized string) (host *sshtest.Host, block, known string) {
	p.Helper()
	host, err := sshtest.StartHost(sshtest.HostOptions{Name: name, Dir: dir, AuthorizedKeys: authorized})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(host.Close)
	if block, err = host.ClientConfig(); err != nil {
		p.Fatal(err)
	}
	if known, err = host.KnownHost(); err != nil {
		p.Fatal(err)
	}
	return host, block, known
}

// byAskpass is the environment in which vigild asks by askpass.
func byAskpass(h *sshtest.Home) []string {
	return []string{"SSH_ASKPASS=" + askpass(h), "SSH_ASKPASS_REQUIRE=force"}
}

// ssh returns ssh with a command for the host. The environment is added.
func (p *person) ssh(environ ...string) *exec.Cmd {
	cmd := exec.Command("ssh", "-F", p.config, "alpha", "echo in")
	cmd.Env = slices.Concat(os.Environ(), p.Env, []string{"SSH_AUTH_SOCK=" + p.Agent.Socket}, environ)
	return cmd
}

// logsIn logs in, which must succeed.
func (p *person) logsIn(environ ...string) {
	p.Helper()
	if err := loggedIn(p.ssh(environ...)); err != nil {
		p.Error(err)
	}
}

// loggedIn runs ssh, and returns an error unless it logs in.
func loggedIn(ssh *exec.Cmd) error {
	var said bytes.Buffer
	ssh.Stderr = &said
	if out, err := ssh.Output(); err != nil || string(out) != "in\n" {
		return fmt.Errorf("ssh: %w: %s%s", err, out, said.Bytes())
	}
	return nil
}

// isRefused logs in, which must fail, and returns why.
func (p *person) isRefused(environ ...string) (reason, next string) {
	p.Helper()
	if out, err := p.ssh(environ...).CombinedOutput(); err == nil {
		p.Errorf("ssh logged in: %s", out)
	}
	return p.why()
}

// why returns the newest refusal.
func (p *person) why() (reason, next string) {
	p.Helper()
	var why struct {
		Refusals []struct{ Reason, Next string }
	}
	p.JSON(&why, "why")
	if len(why.Refusals) == 0 {
		p.Fatal("nothing was refused")
	}
	return why.Refusals[0].Reason, why.Refusals[0].Next
}

// answers says what the next prompts are answered with, one line each.
func (p *person) answers(lines ...string) { p.Write("answer", strings.Join(lines, "\n")+"\n") }

// asked returns what was asked so far.
func (p *person) asked() []string {
	text, _ := os.ReadFile(p.Path("asked"))
	all := strings.Split(string(text), "\n--\n")
	return all[:len(all)-1]
}

// waitFor waits until so many prompts were shown.
func (p *person) waitFor(prompts int) {
	p.Helper()
	sshtest.Eventually(p, "prompts", func() error {
		if n := len(p.asked()); n != prompts {
			return fmt.Errorf("%d were shown, want %d", n, prompts)
		}
		return nil
	})
}

// askers returns the processes of Vigil's that ask.
func (p *person) askers() (pids []int) {
	for _, pid := range sshtest.Processes() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasSuffix(strings.TrimRight(string(line), "\x00"), "asker-role") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stopAskers stops the askers, as any program of the user can: they don't end by themselves.
func (p *person) stopAskers() {
	p.Helper()
	for _, pid := range p.askers() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			p.Error(err)
		}
	}
}

// noAskers waits until every asker has ended.
func (p *person) noAskers() {
	p.Helper()
	sshtest.Eventually(p, "the asker's end", func() error {
		if left := p.askers(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}
