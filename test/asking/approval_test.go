package asking

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

// forwarding is a person with an unlocked vault whose key logs in to three hosts, each of
// which the agent may be forwarded to.
type forwarding struct {
	*person
	hosts map[string]*sshtest.Host
}

func newForwarding(t *testing.T, config string) *forwarding {
	f := &forwarding{newPerson(t, config, byAskpass), map[string]*sshtest.Host{}}
	f.Unlock()
	var blocks, known string
	for _, name := range []string{"alpha", "beta", "gamma"} {
		dir := f.Path(name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		host, block, line := f.newHost(name, dir, f.Path("laptop.pub"))
		f.hosts[name] = host
		blocks, known = blocks+block+"UserKnownHostsFile "+f.Path("known")+"\n", known+line
	}
	f.Write("known", known)
	f.config = f.Write("ssh_config3", blocks)
	return f
}

// hop logs in to a host with the agent forwarded, and runs a command there.
func (f *forwarding) hop(via, command string) error { return loggedIn(f.hopping(via, command)) }

func (f *forwarding) hopping(via, command string) *exec.Cmd {
	cmd := exec.Command("ssh", "-A", "-F", f.config, via, command)
	cmd.Env = append(os.Environ(), append(f.Env, "SSH_AUTH_SOCK="+f.Agent.Socket)...)
	return cmd
}

// to is the command that logs in to a further host.
func (f *forwarding) to(host string) string { return "ssh -F " + f.config + " " + host + " 'echo in'" }

// fingerprint returns that of a file with a public key.
func (f *forwarding) fingerprint(path string) string {
	f.Helper()
	out, err := exec.Command("ssh-keygen", "-lf", path).Output()
	if err != nil {
		f.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

// newly returns what was asked since the last call.
func (f *forwarding) newly(before *int) []string {
	all := f.asked()
	list := all[*before:]
	*before = len(all)
	return list
}

type granted struct {
	Grants []struct {
		Number             int
		Purpose, Key, From string
		Uses               int
	}
}

func TestAForwardedAgentAsks(t *testing.T) {
	f := newForwarding(t, "")
	before := len(f.asked())
	f.logsIn() // local: free
	if asked := f.newly(&before); len(asked) != 0 {
		t.Fatalf("a local login asks: %q", asked)
	}

	f.answers("yes")
	if err := f.hop("alpha", f.to("beta")); err != nil {
		t.Fatal(err)
	}
	asked := f.newly(&before)
	if len(asked) != 1 {
		t.Fatalf("asked %q", asked)
	}
	for _, want := range []string{
		"Allow use of key laptop?\nKey fingerprint " + f.fingerprint(f.Path("laptop.pub")),
		"\nFor: login as ",
		"\nAt the host with key " + f.fingerprint(f.hosts["beta"].HostKey),
		"\nThrough the agent forwarded to the host with key " + f.fingerprint(f.hosts["alpha"].HostKey),
		"\nNot verified: asked by ", "A yes holds for 10 minutes.",
	} {
		if !strings.Contains(asked[0], want) {
			t.Errorf("the prompt lacks %q:\n%s", want, asked[0])
		}
	}

	// It holds for this host and chain, and no other.
	if err := f.hop("alpha", f.to("beta")); err != nil {
		t.Fatal(err)
	}
	if asked := f.newly(&before); len(asked) != 0 {
		t.Fatalf("asked again: %q", asked)
	}
	var g granted
	f.JSON(&g, "grants")
	if len(g.Grants) != 1 || g.Grants[0].Uses != 2 || g.Grants[0].Key != "laptop" {
		t.Errorf("grants %+v", g)
	}
	for _, way := range [][2]string{{"alpha", f.to("gamma")}, {"gamma", f.to("beta")}, {"alpha", "ssh -A -F " + f.config + " beta \"" + f.to("gamma") + "\""}} {
		f.answers("yes", "yes")
		if err := f.hop(way[0], way[1]); err != nil {
			t.Error(err)
		}
		if asked := f.newly(&before); len(asked) == 0 {
			t.Errorf("through %s, %s: nobody was asked", way[0], way[1])
		}
	}

	f.OK("grants", "--revoke", "all")
	f.answers("yes")
	if err := f.hop("alpha", f.to("beta")); err != nil || len(f.newly(&before)) != 1 {
		t.Errorf("after a revocation: %v", err)
	}
	f.OK("lock")
	f.Unlock()
	if f.JSON(&g, "grants"); len(g.Grants) != 0 {
		t.Errorf("after a lock: %+v", g)
	}
}

// After a no, the host can't ask again at once, and the user's own requests go on.
func TestADeniedHostIsSilenced(t *testing.T) {
	f := newForwarding(t, "")
	f.answers("no")
	before := len(f.asked())
	for range 3 {
		if f.hop("alpha", f.to("beta")) == nil {
			t.Fatal("it logged in")
		}
	}
	if n := len(f.newly(&before)); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if reason, _ := f.why(); !strings.Contains(reason, "nobody is asked for another") {
		t.Errorf("refused: %s", reason)
	}
	// It can't look like another host by hosts behind it.
	if f.hop("alpha", "ssh -A -F "+f.config+" gamma \""+f.to("beta")+"\"") == nil || len(f.newly(&before)) != 0 {
		t.Error("it asks as a host behind it")
	}
	f.logsIn()
	f.OK("lock")
	f.Unlock() // by hand
	f.answers("no")
	if f.hop("alpha", f.to("beta")) == nil || len(f.newly(&before)) != 1 {
		t.Error("after an unlock nobody was asked")
	}
	f.answers("yes")
	if err := f.hop("gamma", f.to("beta")); err != nil || len(f.newly(&before)) != 1 {
		t.Errorf("another host: %v", err)
	}
}

// Nor can it show prompt after prompt by hanging up while one is shown, or when nobody is
// there.
func TestAHostThatHangsUpIsSilenced(t *testing.T) {
	for name, config := range map[string]string{"hangs up": "", "nobody is there": "ask_timeout = \"1s\"\n"} {
		t.Run(name, func(t *testing.T) {
			f := newForwarding(t, config)
			f.Write("wait", "")
			before := len(f.asked())
			cmd := f.hopping("alpha", f.to("beta"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			sshtest.Eventually(t, "a prompt", func() error {
				if len(f.asked()) == before {
					return errors.New("none yet")
				}
				return nil
			})
			if config == "" {
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait()
			f.noAskers()
			for range 2 {
				if f.hop("alpha", f.to("beta")) == nil {
					t.Error("it logged in")
				}
			}
			if n := len(f.newly(&before)); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if reason, _ := f.why(); !strings.Contains(reason, "nobody is asked for another") {
				t.Errorf("refused: %s", reason)
			}
		})
	}
}

// What real programs have signed is asked for by what it is.
func TestWhatIsSignedIsShown(t *testing.T) {
	f := newForwarding(t, "")
	f.Write("file", "text")
	before := len(f.asked())
	run := func(args ...string) error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = f.Dir
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+f.Agent.Socket)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s: %s", args, out)
		}
		return err
	}
	key := f.Path("laptop.pub")
	sign := []string{"ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key, "file"}
	if err := run(sign...); err != nil || len(f.newly(&before)) != 0 {
		t.Errorf("a local signature of a file: %v", err)
	}
	certify := []string{"ssh-keygen", "-q", "-s", key, "-U", "-I", "id", "-n", "alice,bob", f.hosts["alpha"].HostKey}
	f.answers("no")
	if run(certify...) == nil {
		t.Error("a certificate was signed without a yes")
	}
	if asked := f.newly(&before); len(asked) != 1 || !strings.Contains(asked[0], "\nFor: user certificate for alice, bob\n") || strings.Contains(asked[0], "holds for") {
		t.Errorf("asked %q", asked)
	}
	f.answers("yes")
	if err := f.hop("alpha", "cd "+f.Dir+" && rm -f file.sig && "+strings.Join(sign, " ")+" && echo in"); err != nil {
		t.Error(err)
	}
	if asked := f.newly(&before); !slices.ContainsFunc(asked, func(s string) bool { return strings.Contains(s, "\nFor: signature for file\n") }) {
		t.Errorf("asked %q", asked)
	}
}

// A key's own setting goes before the vault's.
func TestApproveOfAKey(t *testing.T) {
	f := newForwarding(t, "approve = \"always\"\n")
	before := len(f.asked())
	for range 2 {
		f.answers("yes")
		f.logsIn()
		if asked := f.newly(&before); len(asked) != 1 || strings.Contains(asked[0], "holds for") {
			t.Errorf("asked %q", asked)
		}
	}
	f.Fails(2, []string{"a person is asked about fewer uses"}, "edit", "laptop", "--approve", "never")
	f.OK(f.By("edit", "laptop", "--approve", "never")...)
	if err := f.hop("alpha", f.to("beta")); err != nil || len(f.newly(&before)) != 0 {
		t.Errorf("a key with approve = never: %v", err)
	}
	if out := f.OK("show", "laptop").Out; !strings.Contains(out, "approve     never") {
		t.Errorf("show:\n%s", out)
	}
	f.Fails(2, []string{"approve of key \"laptop\" can't be what was given", "It is never, forwarded, first or always; empty for the vault's."}, f.By("edit", "laptop", "--approve", "sometimes")...)
	f.Fails(1, []string{"no grant has the number 99", "`vigilctl grants` lists those there are."}, "grants", "--revoke", "99")
	f.Fails(2, []string{"--revoke takes a grant's number, or all", "`vigilctl grants` lists them."}, "grants", "--revoke", "some")
}

// What a host has signed without saying what it is may be anything: nobody is asked.
func TestUnknownDataThroughAForwardedAgent(t *testing.T) {
	f := newForwarding(t, "")
	f.answers("yes")
	before := len(f.asked())
	if f.hop("alpha", "ssh-add -T "+f.Path("laptop.pub")+" && echo in") == nil { // it has random bytes signed
		t.Error("they were signed")
	}
	if asked := f.newly(&before); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
	reason, next := f.why()
	if !strings.HasPrefix(reason, "the request came through a forwarded agent, and what is to be signed is neither") ||
		next != "If every host that the agent is forwarded to may have the key sign anything: `vigilctl edit KEY --approve never`." {
		t.Errorf("refused: %s. %s", reason, next)
	}
}

func TestNobodyToAllowIt(t *testing.T) {
	p := newPerson(t, "approve = \"first\"\n", func(*sshtest.Home) []string { return nil })
	p.Unlock()
	reason, next := p.isRefused()
	if !strings.HasPrefix(reason, "the use of the key must be allowed, and nobody can be asked: ") ||
		next != "To allow it in a terminal: `vigilctl session register`, then lock and unlock the vault there. On a desktop: docs/asking.md. `vigilctl show KEY`, and `approve` in config.toml, say what is asked for." {
		t.Errorf("refused: %s. %s", reason, next)
	}
}
