package asking

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/internal/testing/sshtest"
)

// standsBy has a `vigilctl ask` wait on a terminal.
func (p *person) standsBy(tm *terminal) *exec.Cmd {
	p.Helper()
	cmd := exec.Command(sshtest.Binary(p, "vigilctl"), "ask")
	cmd.Env = append(os.Environ(), p.shellEnviron()...)
	runsOn(cmd, tm)
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	tm.expect("Waiting to be asked. Ctrl-C ends it.\r\n")
	return cmd
}

// detached returns ssh without a terminal, as a service would run it.
func (p *person) detached() *exec.Cmd {
	cmd := p.ssh()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// One prompt for all who wait, also for what has no terminal: a wrong passphrase, then the
// right one, then it waits again.
func TestTwentyLoginsAreAskedForByVigilctlAsk(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	before := modeOf(t, tm.slave.Name())
	cmd := p.standsBy(tm)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := loggedIn(p.detached()); err != nil {
				t.Error(err)
			}
		})
	}
	tm.expect(question)
	p.waiting(20)
	tm.expect("Passphrase: ")
	tm.types("wrong\r")
	tm.expect("Wrong passphrase. Try 2 of 3.")
	tm.expect("Passphrase: ")
	tm.types(passphrase + "\r")
	tm.expect("It is unlocked.\r\n")
	all.Wait()
	if n := strings.Count(string(tm.all), question); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	if out := p.OK("status").Out; !strings.Contains(out, "asked in terminals: 1 `vigilctl ask`\n") {
		t.Errorf("status says:\n%s", out)
	}

	// Again after a lock, declined.
	p.OK("lock")
	refused := make(chan error, 1)
	go func() { refused <- loggedIn(p.detached()) }()
	tm.expect("Passphrase: ")
	tm.types("\r")
	if err := <-refused; err == nil {
		t.Error("declined, it logged in")
	}
	if after := modeOf(t, tm.slave.Name()); after != before {
		t.Errorf("the terminal's mode was %v, is %v", before, after)
	}
	tm.types("\x03")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if reason, next := p.isRefused(); !strings.Contains(reason, "nobody can be asked") || !strings.Contains(next, ", or have `vigilctl ask` wait for requests in a terminal. What else it takes to be asked: docs/asking.md.") {
		t.Errorf("refused: %s, %s", reason, next)
	}
}

// What ends the prompt elsewhere ends it here, and what was half typed is gone.
func TestVigilctlAskIsAnsweredElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		config, says string
		end          func(*person)
	}{
		"unlocked": {"", "Closed: the vault was unlocked meanwhile.", func(p *person) { p.Unlock() }},
		"locked":   {"", "Closed: the vault was locked while someone was asked.", func(p *person) { p.OK("lock") }},
		"timeout":  {"ask_timeout = \"1s\"\n", "Closed: nobody answered the prompt within 1s.", func(*person) {}},
	} {
		t.Run(name, func(t *testing.T) {
			tm := newTerminal(t)
			p := newPerson(t, tt.config, nowhere)
			before := modeOf(t, tm.slave.Name())
			p.standsBy(tm)
			ended := make(chan error, 1)
			go func() { ended <- loggedIn(p.detached()) }()
			tm.expect("Passphrase: ")
			tm.types("half")
			tt.end(p)
			tm.expect(tt.says)
			if err := <-ended; (err == nil) != (name == "unlocked") {
				t.Errorf("ssh: %v", err)
			}
			if after := modeOf(t, tm.slave.Name()); after != before {
				t.Errorf("the terminal's mode was %v, is %v", before, after)
			}
		})
	}
}

// The newest is asked, unless it was stopped by Ctrl-Z, or has gone.
func TestTheNewestVigilctlAskIsAsked(t *testing.T) {
	first, second := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.standsBy(first)
	p.shell(second)
	second.types("vigilctl ask\r")
	second.expect("Waiting to be asked")
	login := func(tm *terminal) {
		t.Helper()
		in := make(chan error, 1)
		go func() { in <- loggedIn(p.detached()) }()
		tm.expect("Passphrase: ")
		tm.types(passphrase + "\r")
		if err := <-in; err != nil {
			t.Error(err)
		}
		p.OK("lock")
	}
	login(second)
	second.types("\x1a")
	second.expect("> ")
	login(first)
	stopped := second.foreground()
	second.types("fg\r")
	sshtest.Eventually(t, "the foreground", func() error {
		if second.foreground() == stopped {
			return errors.New("it is the shell's")
		}
		return nil
	})
	login(second)
	second.types("\x03")
	second.expect("> ")
	login(first)
}

// It needs a terminal that it has for itself.
func TestVigilctlAskNeedsATerminal(t *testing.T) {
	p := newPerson(t, "", nowhere)
	cmd := exec.Command(sshtest.Binary(t, "vigilctl"), "ask")
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "there is no terminal to ask on") || !strings.Contains(string(out), "Run it in the foreground of a terminal.") {
		t.Errorf("%v: %s", err, out)
	}
}

// The daemon's end ends it.
func TestVigilctlAskEndsWithTheDaemon(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	cmd := p.standsBy(tm)
	p.OK("down")
	tm.expect("vigild has ended")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("it ended with %v", err)
	}
}

// In real tmux, started by a real login over ssh: a registered pane is asked for what runs
// in it, and `vigilctl ask` in another for a fetch of git's in the background.
func TestTmux(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed (make deps installs it)")
	}
	p := newPerson(t, "", nowhere)
	socket := p.Path("tmux")
	start := p.machine("-T", "tmux", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-s", "work", "sh")
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("tmux", append([]string{"-S", socket}, args...)...)
		cmd.Env = append(os.Environ(), p.shellEnviron()...) // a new window has its PATH
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %s: %v: %s", args[0], err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", socket, "kill-server").Run() })
	types := func(pane, text string) {
		t.Helper()
		tmux("send-keys", "-t", pane, "-l", text)
		tmux("send-keys", "-t", pane, "Enter")
	}
	shows := func(pane, text string) {
		t.Helper()
		sshtest.Eventually(t, text, func() error {
			if screen := tmux("capture-pane", "-p", "-t", pane); !strings.Contains(screen, text) {
				return fmt.Errorf("pane %s shows:\n%s", pane, screen)
			}
			return nil
		})
	}
	types("work:0", `eval "$(vigilctl env --hook)"`)
	sshtest.Eventually(t, "a registered session", func() error {
		if len(p.sessions()) != 1 {
			return errors.New("none")
		}
		return nil
	})
	types("work:0", p.logIn())
	shows("work:0", "Passphrase:")
	types("work:0", passphrase)
	shows("work:0", "\nin\n")
	if strings.Contains(tmux("capture-pane", "-p", "-t", "work:0"), "horse") {
		t.Error("the pane shows what was typed")
	}

	p.OK("lock")
	tmux("new-window", "-d", "-t", "work:1", "vigilctl ask")
	shows("work:1", "Waiting to be asked")
	for _, args := range [][]string{{"init", "-q", "--bare", "there"}, {"clone", "-q", "there", "here"}} {
		if out, err := exec.Command("git", append([]string{"-C", p.Dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	fetch := exec.Command("git", "-C", p.Path("here"), "fetch", "-q", "alpha:"+p.Path("there"), "+refs/heads/*:refs/remotes/there/*")
	fetch.Env = append(os.Environ(), append(p.Env, "SSH_AUTH_SOCK="+p.Agent.Socket, "GIT_SSH_COMMAND=ssh -F "+p.config)...)
	fetch.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	fetched := make(chan error, 1)
	go func() { fetched <- fetch.Run() }()
	shows("work:1", "Passphrase:")
	types("work:1", passphrase)
	if err := <-fetched; err != nil {
		t.Errorf("git fetch: %v", err)
	}
	shows("work:1", "It is unlocked.")
}

// doctor says where this terminal's requests would be asked for, and why not elsewhere.
func TestDoctorSaysWhereSomeoneIsAsked(t *testing.T) {
	tm, other := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.shell(tm)
	tm.types("vigilctl doctor | grep -A1 asking; echo do''ne\r")
	tm.expect("nobody could be asked for a passphrase on behalf of this terminal; not on the terminal of the program that asks: the terminal of the program that asks isn't a registered session's; not by `vigilctl ask`: no `vigilctl ask` waits; not on the desktop")
	tm.expect("Register this session (vigilctl session register), or have `vigilctl ask` wait for requests in a terminal; docs/asking.md.")
	tm.expect("done\r\n")
	p.standsBy(other)
	tm.types("vigilctl doctor | grep asking\r")
	tm.expect("a request from this terminal asks for the passphrase by `vigilctl ask`; not on the terminal")
	p.registers(tm)
	tm.types("vigilctl doctor | grep asking\r")
	tm.expect("a request from this terminal asks for the passphrase on the terminal of the program that asks; not by `vigilctl ask`, which comes later")
}

// Whoever can speak on the control socket can wait for requests as `vigilctl ask` does. It
// is asked to allow something only after the vault's passphrase was typed there.
func TestApprovalsGoToWhoKnowsThePassphrase(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "approve = \"always\"\n", nowhere)
	p.Unlock()
	p.standsBy(tm)
	if err := loggedIn(p.detached()); err == nil {
		t.Fatal("it was allowed by nobody")
	}
	reason, _ := p.why()
	if !strings.HasPrefix(reason, "the use of the key must be allowed, and nobody can be asked: ") || strings.Contains(string(tm.all), "Allow use of key") {
		t.Errorf("refused: %s; on the terminal: %q", reason, tm.all)
	}

	p.OK("lock")
	done := make(chan error, 1)
	go func() { done <- loggedIn(p.detached()) }()
	tm.expect("Passphrase: ")
	tm.types(passphrase + "\r")
	tm.expect("It is unlocked.\r\n")
	tm.expect("Allow use of key laptop?")
	tm.expect("[y/N] ")
	tm.types("y\r")
	if err := <-done; err != nil {
		t.Error(err)
	}

	go func() { done <- loggedIn(p.detached()) }()
	tm.expect("[y/N] ")
	tm.types("n\r")
	if err := <-done; err == nil {
		t.Error("it logged in after a no")
	}
	p.OK("lock") // what was typed before counts no more
	p.Unlock()
	if err := loggedIn(p.detached()); err == nil {
		t.Error("it was allowed by nobody, after a lock")
	}
}
