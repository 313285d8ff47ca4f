package asking

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// mostUntilAsked is far more than the time until a prompt is shown, which the test prints:
// machines are busy.
const mostUntilAsked = 5 * time.Second

// shell starts an interactive shell in the foreground of a terminal.
func (p *person) shell(tm *terminal) *exec.Cmd {
	p.Helper()
	cmd := exec.Command("sh", "-i")
	runsOn(cmd, tm)
	p.begin(cmd, tm)
	return cmd
}

// machine returns the command that runs one on this machine by a real login over ssh, with
// a key that Vigil doesn't have. terminal is ssh's flag: -tt or -T.
func (p *person) machine(terminal string, command ...string) *exec.Cmd {
	p.Helper()
	key := p.Path("login")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		p.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	host, err := sshtest.StartHost(sshtest.HostOptions{Name: "machine", Dir: p.Dir, AuthorizedKeys: key + ".pub"})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(host.Close)
	block, err := host.ClientConfig()
	if err != nil {
		p.Fatal(err)
	}
	known, err := host.KnownHost()
	if err != nil {
		p.Fatal(err)
	}
	config := p.Write("login_config", block+"UserKnownHostsFile "+p.Write("login_hosts", known)+"\nIdentityAgent none\nIdentityFile "+key+"\n")
	words := []string{terminal, "-F", config, "machine", "exec", "env", "PS1='> '"}
	for _, kv := range p.shellEnviron() {
		words = append(words, "'"+kv+"'")
	}
	return exec.Command("ssh", append(words, command...)...)
}

// login starts a shell by a login over ssh from a terminal. Where an sshd that isn't root
// can't give a login a terminal, as that belongs to another group than tty, it is a shell
// on the terminal itself.
func (p *person) login(tm *terminal) {
	p.Helper()
	var info unix.Stat_t
	group, err := user.LookupGroup("tty")
	if err == nil {
		err = unix.Fstat(int(tm.slave.Fd()), &info)
	}
	if err != nil || group.Gid != fmt.Sprint(info.Gid) {
		p.Logf("without a login: terminals here belong to group %d, not tty", info.Gid)
		p.shell(tm)
		return
	}
	cmd := p.machine("-tt", "sh", "-i")
	runsOn(cmd, tm)
	p.begin(cmd, tm)
}

// shellEnviron is what a shell needs to find Vigil's programs and this person's vault.
func (p *person) shellEnviron() []string {
	return append(slices.Clone(p.Env), "PATH="+sshtest.BinaryDir()+":"+os.Getenv("PATH"), "TERM=xterm", "HISTFILE=/dev/null")
}

func (p *person) begin(cmd *exec.Cmd, tm *terminal) {
	p.Helper()
	cmd.Env = append(os.Environ(), append(p.shellEnviron(), "PS1=> ")...)
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	tm.expect("> ")
}

// registers has the shell on a terminal evaluate the line of a start-up file.
func (p *person) registers(tm *terminal) {
	p.Helper()
	before := len(p.sessions())
	tm.types("eval \"$(vigilctl env --hook)\"\r")
	sshtest.Eventually(p, "a registered session", func() error {
		if n := len(p.sessions()); n != before+1 {
			return fmt.Errorf("%d are registered", n)
		}
		return nil
	})
	tm.expect("> ")
}

func (p *person) sessions() []control.TerminalSession {
	p.Helper()
	var list control.SessionListReply
	p.JSON(&list, "session", "list")
	return list.Sessions
}

// logIn is the command line that logs in.
func (p *person) logIn() string { return "ssh -F " + p.config + " alpha echo in" }

const question = "Vigil: Passphrase of vault default, to use its key laptop."

// modeOf returns a terminal's mode.
func modeOf(t *testing.T, path string) unix.Termios {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}

// A login over ssh, whose shell has registered: ssh there asks there.
func TestALoginIsAskedOnItsTerminal(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.login(tm)
	p.registers(tm)
	path := p.sessions()[0].Terminal
	if p.sessions()[0].Term != "xterm" {
		t.Errorf("registered is %+v", p.sessions()[0])
	}
	began := time.Now()
	tm.types(p.logIn() + "\r")
	tm.expect(question)
	took := time.Since(began)
	t.Logf("%v from the command line to the prompt, ssh's own start included", took)
	if took > mostUntilAsked {
		t.Error("that is too long")
	}
	tm.expect("\r\nFor: login as ")
	tm.expect("Passphrase: ")
	if modeOf(t, path).Lflag&(unix.ECHO|unix.ISIG) != 0 {
		t.Error("the terminal shows what is typed, or a key signals the shell")
	}
	tm.types("wrong\x1b[A horse\x00\r")
	tm.expect("Wrong passphrase. Try 2 of 3.\r\nPassphrase: ")
	tm.types("erased\x15" + passphrase + "x\x7f\r")
	tm.expect("\r\nin\r\n")
	p.noAskers()
	if mode := modeOf(t, path); mode.Lflag&unix.ECHO == 0 || mode.Lflag&unix.ICANON == 0 || mode.Lflag&unix.ISIG == 0 {
		t.Errorf("the terminal was left as %+v", mode)
	}
	if list := p.OK("session", "list").Out; !strings.HasPrefix(list, path+"  xterm  led by process ") || !strings.HasSuffix(list, "; the passphrase typed here unlocked default\n") {
		t.Errorf("listed: %s", list)
	}
	if out := p.OK("status").Out; !strings.Contains(out, "asked in terminals: 1 registered session\n") {
		t.Errorf("status says:\n%s", out)
	}
	tm.types("exit\r")
	sshtest.Eventually(t, "the session's end", func() error {
		if left := p.sessions(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

// What ends a prompt on a terminal leaves that as it was, and closes it.
func TestATerminalIsRestored(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		end    func(p *person, tm *terminal)
		reason string
	}{
		"Ctrl-C":  {"", func(_ *person, tm *terminal) { tm.types("\x03") }, "it was declined at the prompt"},
		"empty":   {"", func(_ *person, tm *terminal) { tm.types("\x15\r") }, "it was declined at the prompt"},
		"timeout": {"ask_timeout = \"1s\"\n", func(*person, *terminal) {}, "nobody answered the prompt within 1s"},
		"lock":    {"", func(p *person, _ *terminal) { p.OK("lock") }, "the vault was locked while someone was asked"},
		"killed": {"", func(p *person, _ *terminal) {
			for _, pid := range p.askers() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}, "the asker ended"},
	} {
		t.Run(name, func(t *testing.T) {
			tm := newTerminal(t)
			p := newPerson(t, tt.config, nowhere)
			p.shell(tm)
			p.registers(tm)
			before := modeOf(t, tm.slave.Name())
			tm.types("stty -a >/dev/null; " + p.logIn() + "\r")
			tm.expect("Passphrase: ")
			prompted := modeOf(t, tm.slave.Name())
			tm.types("half a pass")
			tt.end(p, tm)
			tm.expect("> ")
			if prompted == before {
				t.Error("the prompt changes no mode: this shows nothing")
			}
			if after := modeOf(t, tm.slave.Name()); after != before {
				t.Errorf("the terminal's mode was %v, is %v", before, after)
			}
			tm.types("echo and on\r")
			tm.expect("\nand on\r\n")
			if strings.Contains(string(tm.all), "half a") {
				t.Errorf("it shows what was typed: %q", tm.all)
			}
			if reason, _ := p.why(); !strings.Contains(reason, tt.reason) {
				t.Errorf("refused: %s", reason)
			}
			p.noAskers()
		})
	}
}

// The prompt goes with the program it is for: its shell would read the rest.
func TestThePromptLeavesWithTheProgramThatAsked(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.shell(tm)
	p.registers(tm)
	tm.types("sh -c '" + p.logIn() + "; echo ended; read line; echo got $line'\r")
	tm.expect("Passphrase: ")
	end := exec.Command("pkill", "-f", "^ssh -F "+p.config)
	if err := end.Run(); err != nil {
		t.Fatal(err)
	}
	tm.expect("ended")
	p.noAskers()
	tm.types("this\r")
	tm.expect("got this")
}

// Nobody is asked on a terminal on behalf of what doesn't have it for itself.
func TestWhoIsNotAskedOnATerminal(t *testing.T) {
	tm, other := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.shell(tm)
	p.registers(tm)
	for name, tt := range map[string]struct {
		run    func(*exec.Cmd)
		reason string
	}{
		"without a terminal": {func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }, "neither DISPLAY"},
		// An attacker's, which answers its own prompts.
		"on a terminal of its own, not registered": {func(cmd *exec.Cmd) { runsOn(cmd, other) }, "; the terminal of the program that asks isn't a registered session's"},
	} {
		cmd := p.ssh("DISPLAY=:99", "SSH_ASKPASS="+askpass(p.Home), "SSH_ASKPASS_REQUIRE=force", "GPG_TTY="+tm.slave.Name())
		tt.run(cmd)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: it logged in", name)
		}
		if reason, _ := p.why(); !strings.Contains(reason, tt.reason) || len(p.asked()) > 0 {
			t.Errorf("%s: refused: %s; asked %q", name, reason, p.asked())
		}
	}
	tm.types(p.logIn() + " </dev/null >/dev/null 2>&1 & wait; echo do''ne\r")
	tm.expect("done\r\n")
	if reason, _ := p.why(); !strings.Contains(reason, "; the program that asks isn't in its terminal's foreground") {
		t.Errorf("in the background: refused: %s", reason)
	}
	if strings.Contains(string(tm.all), question) || strings.Contains(string(other.all), question) {
		t.Errorf("someone was asked: %q, %q", tm.all, other.all)
	}
}

// A login that forwards the agent reads what is typed on its terminal, as does any program
// that has put it into another mode.
func TestAProgramThatReadsItsTerminalIsNotAskedThere(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	p.shell(tm)
	p.registers(tm)
	tm.types("stty -icanon; " + p.logIn() + "; stty icanon; echo do''ne\r")
	tm.expect("done\r\n")
	if reason, _ := p.why(); !strings.Contains(reason, "; a program reads what is typed on the terminal of the one that asks") {
		t.Errorf("refused: %s", reason)
	}
	p.Unlock()
	tm.types("ssh -A -F " + p.config + " alpha 'echo in; read go; ssh-keygen -q -Y sign -n file -f " + p.Path("laptop.pub") + " " + p.Write("text", "x") + " 2>&1; echo do''ne'\r")
	tm.expect("\r\nin\r\n")
	p.OK("lock")
	tm.types("go\r")
	tm.expect("done\r\n")
	if reason, _ := p.why(); !strings.Contains(reason, "; the program that asks is a login that forwards the agent") {
		t.Errorf("refused: %s", reason)
	}
}

// A terminal whose number another session has now isn't the registered one.
func TestATerminalsNextSessionIsAnother(t *testing.T) {
	tm := newTerminal(t)
	p := newPerson(t, "", nowhere)
	sh := p.shell(tm)
	p.registers(tm)
	_ = sh.Process.Kill()
	_ = sh.Wait()
	cmd := p.ssh()
	runsOn(cmd, tm)
	if err := cmd.Run(); err == nil {
		t.Error("it logged in")
	}
	if reason, _ := p.why(); !strings.Contains(reason, "isn't a registered session's") {
		t.Errorf("refused: %s", reason)
	}
	if n := len(p.sessions()); n != 0 {
		t.Errorf("%d sessions are registered", n)
	}
}

// A program can register a terminal of its own, and is asked there: that holds up nobody
// else, and three prompts that it cancels make nobody else quiet.
func TestAnAttackersTerminalHoldsUpNobody(t *testing.T) {
	tm, evil := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", byAskpass)
	p.shell(evil)
	p.registers(evil)
	p.shell(tm)
	p.registers(tm)
	for range 4 {
		evil.types(p.logIn() + "\r")
		evil.expect("Passphrase: ")
		evil.types("\r")
		evil.expect("> ")
	}
	evil.types(p.logIn() + "\r")
	evil.expect("Passphrase: ")
	p.answers(passphrase)
	p.logsIn() // by askpass, while the attacker's is open
	evil.expect("in\r\n")
	p.OK("lock")
	evil.types(p.logIn() + "\r")
	evil.expect("Passphrase: ")
	tm.types(p.logIn() + "\r")
	tm.expect("Passphrase: ")
	tm.types(passphrase + "\r")
	tm.expect("in\r\n")
}

// mostForHooks is far more than what the hook costs a shell, which the test prints.
const mostForHooks = time.Second

// The hook says nothing and starts nothing without a daemon, and costs next to nothing.
func TestTheHookIsSilent(t *testing.T) {
	p := newPerson(t, "", nowhere)
	const times = 10
	hooks := exec.Command("sh", "-c", strings.Repeat(p.OK("env", "--hook").Out, times))
	hooks.Env = append(os.Environ(), p.Env...)
	began := time.Now()
	if out, err := hooks.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	each := time.Since(began) / times
	t.Logf("each hook cost the shell %v", each)
	if each > mostForHooks {
		t.Error("that is too long")
	}
	p.OK("down")
	for _, shell := range []string{"sh", "bash", "zsh", "fish"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s isn't installed", shell)
			continue
		}
		line := p.OK("env", "--hook", "--shell", shell).Out
		cmd := exec.Command(path, "-c", line)
		cmd.Env = append(os.Environ(), p.Env...)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
	r := p.Vigilctl("session", "register", "--quiet")
	if r.Status != 0 || r.Out != "" || r.Err != "" {
		t.Errorf("without a daemon: %v", r)
	}
	p.Fails(5, []string{"vigild is not running"}, "session", "register")
}

// Where a vault's passphrase was typed is known until it is locked, and known of nowhere
// else: an unlock that had nothing to do proves nothing.
func TestWhereAPassphraseWasTyped(t *testing.T) {
	one, two := newTerminal(t), newTerminal(t)
	p := newPerson(t, "", nowhere)
	for _, tm := range []*terminal{one, two} {
		p.shell(tm)
		p.registers(tm)
	}
	proved := func(want ...string) {
		t.Helper()
		var got []string
		for _, s := range p.sessions() {
			if slices.Equal(s.Proved, []string{"default"}) {
				got = append(got, s.Terminal)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("it was typed at %q, want %q", got, want)
		}
	}
	proved()
	one.types("vigilctl unlock\r")
	one.expect("Passphrase of vault default: ")
	one.types(passphrase + "\r")
	one.expect("unlocked")
	proved(one.slave.Name())
	two.types("echo guess | vigilctl unlock --passphrase-file -; echo do''ne\r")
	two.expect("done\r\n")
	proved(one.slave.Name())
	p.OK("lock")
	proved()
	two.types(p.logIn() + "\r")
	two.expect("Passphrase: ")
	two.types(passphrase + "\r")
	two.expect("\r\nin\r\n")
	proved(two.slave.Name())
}
