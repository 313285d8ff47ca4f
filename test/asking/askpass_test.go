package asking

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestAPromptUnlocksForALogin(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	p.answers(passphrase)
	p.Client().List()
	if len(p.asked()) != 0 {
		t.Errorf("listing asks: %q", p.asked())
	}
	p.logsIn()
	p.logsIn() // unlocked now
	asked := p.asked()
	if len(asked) != 1 {
		t.Fatalf("asked %d times: %q", len(asked), asked)
	}
	for _, want := range []string{"Passphrase of vault default, to use its key laptop.\nKey fingerprint SHA256:", "\nFor: login as ", "\nNot verified: asked by "} {
		if !strings.Contains(asked[0], want) {
			t.Errorf("the prompt doesn't say %q:\n%s", want, asked[0])
		}
	}
	if v := p.Vault(); v.State != "unlocked" {
		t.Errorf("the vault is %s", v.State)
	}
	p.noAskers()
}

func TestThreeTriesInOnePrompt(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	p.answers("one", "two", passphrase)
	p.logsIn()
	asked := p.asked()
	if len(asked) != 3 || strings.Contains(asked[0], "Wrong") || !strings.HasPrefix(asked[1], "Vigil\n\nWrong passphrase. Try 2 of 3.\n") || !strings.HasPrefix(asked[2], "Vigil\n\nWrong passphrase. Try 3 of 3.\n") {
		t.Errorf("asked %q", asked)
	}
	p.OK("lock")
	p.answers("one", "two", "three", passphrase)
	if why, _ := p.isRefused(); !strings.Contains(why, "passphrase") {
		t.Errorf("refused: %s", why)
	}
	if n := len(p.asked()); n != 6 {
		t.Errorf("asked %d times", n)
	}
	p.logsIn() // a mistyped passphrase makes nothing quiet
	p.noAskers()
}

func TestACancelledPromptIsNotShownAgain(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	if why, next := p.isRefused(); !strings.HasSuffix(why, "it was declined at the prompt") || next != "Unlock it: vigilctl unlock --vault default" {
		t.Errorf("refused: %s, %s", why, next)
	}
	p.answers(passphrase)
	if why, _ := p.isRefused(); !strings.Contains(why, "nobody is asked for another ") {
		t.Errorf("refused: %s", why)
	}
	if n := len(p.asked()); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.Unlock() // by hand
	p.OK("lock")
	p.logsIn()
	if n := len(p.asked()); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestAPromptIsNotShownForEver(t *testing.T) {
	p := newPerson(t, "ask_timeout = \"1s\"\n", byAskpass)
	p.Write("wait", "")
	if why, _ := p.isRefused(); !strings.HasSuffix(why, "nobody answered the prompt within 1s") {
		t.Errorf("refused: %s", why)
	}
	p.noAskers()
}

// A request through a forwarded agent says so, as the session binds prove it.
func TestAPromptTellsOfForwarding(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	p.Unlock()
	// Logged in, with the agent forwarded, the vault is locked; then the agent is used there.
	cmd := p.ssh()
	cmd.Args = append([]string{"ssh", "-A"}, append(cmd.Args[1:len(cmd.Args)-1], "read line; ssh-keygen -q -Y sign -n file -f "+p.Path("laptop.pub")+" "+p.Write("text", "text"))...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, "a login", func() error {
		log, err := os.ReadFile(p.host.LogFile)
		if err == nil && !strings.Contains(string(log), "Starting session: command") {
			err = errors.New("none yet")
		}
		return err
	})
	p.OK("lock")
	p.answers(passphrase, "yes")
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ssh-keygen -Y sign: %v", err)
	}
	out, err := exec.Command("ssh-keygen", "-l", "-f", p.host.HostKey).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "\nThrough the agent forwarded to the host with key " + strings.Fields(string(out))[1] + "."
	if asked := p.asked(); len(asked) != 2 || !strings.Contains(asked[0], want) || !strings.Contains(asked[1], want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestAPromptUnlocksForAPush(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	p.answers(passphrase)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", p.Dir, "-c", "user.name=n", "-c", "user.email=e@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), append(p.Env, "SSH_AUTH_SOCK="+p.Agent.Socket, "GIT_SSH_COMMAND=ssh -F "+p.config)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	git("init", "-q", "--bare", "there")
	git("init", "-q", "here")
	git("-C", "here", "commit", "-q", "--allow-empty", "-m", "first")
	git("-C", "here", "push", "-q", "alpha:"+p.Path("there"), "HEAD:refs/heads/main")
	git("-C", "there", "rev-parse", "--verify", "-q", "main")
	if n := len(p.asked()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
