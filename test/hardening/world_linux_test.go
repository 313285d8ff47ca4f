package hardening

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/ask"
	"vigil/internal/keeper"
	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

// deadline bounds every wait, on machines that do other things at the same time.
const deadline = time.Minute

// world is a daemon in a home of its own, with an unlocked vault of one key and
// another key that ssh-add brought.
type world struct {
	t     *testing.T
	dir   string
	agent *sshtest.Agent
	pass  string // file
}

// start starts a daemon; settings are those of its vault.
func start(t *testing.T, settings string) *world {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "h")
	check(t, err)
	w := &world{t: t, dir: dir, pass: filepath.Join(dir, "pass")}
	check(t, os.WriteFile(w.pass, []byte("correct horse battery staple\n"), 0o600))
	config := filepath.Join(dir, "config", "vigil")
	check(t, os.MkdirAll(config, 0o700))
	if settings != "" {
		settings = "[vault.default]\n" + settings
	}
	check(t, os.WriteFile(filepath.Join(config, "config.toml"), []byte(settings), 0o600))
	nobody := filepath.Join(dir, "askpass")
	check(t, os.WriteFile(nobody, []byte("#!/bin/sh\necho >>\"$0.asked\"\nexec sleep 600\n"), 0o700))
	w.agent, err = sshtest.StartVigild(dir, sshtest.Binary(t, "vigild"), "SSH_ASKPASS="+nobody, "SSH_ASKPASS_REQUIRE=force")
	check(t, err)
	t.Cleanup(func() {
		_ = w.agent.Process.Signal(unix.SIGCONT)
		if err := w.agent.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(w.agent.LogFile)
			t.Logf("vigild's log:\n%s", log)
		}
	})
	w.run("vigilctl", "init", "--unlock", "--passphrase-file", w.pass, "--kdf-memory=64", "--kdf-parallelism=1")
	return w
}

// addKeys brings one key into each keeper.
func (w *world) addKeys() {
	w.t.Helper()
	w.run("vigilctl", "generate", "laptop")
	key := filepath.Join(w.dir, "key")
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	w.run("ssh-add", "-q", key)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) command(name string, args ...string) *exec.Cmd {
	if name == "vigilctl" {
		name = sshtest.Binary(w.t, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), sshtest.VigilEnvironment(w.dir)...), "SSH_AUTH_SOCK="+w.agent.Socket)
	cmd.Dir = w.dir
	return cmd
}

func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	out, err := w.command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is one of the daemon's; its exe can't be read, its arguments can.
type process struct {
	pid  int
	role string
}

// processes lists the front and what it started.
func (w *world) processes() []process {
	front := w.agent.Process.Pid
	list := []process{{front, "front"}}
	for _, pid := range sshtest.Children(front) {
		p := process{pid: pid, role: "opener"}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		switch args := strings.Split(string(line), "\x00"); {
		case len(args) > 1 && args[1] == keeper.Role:
			p.role = "keeper"
		case len(args) > 1 && args[1] == ask.Role:
			p.role = "asker"
		}
		list = append(list, p)
	}
	return list
}

// stat returns the name and the parent of a process.
func stat(pid int) (name string, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	// pid (name) state parent …; the name may hold anything, so count from its end.
	_, rest, _ := bytes.Cut(text, []byte("("))
	end := bytes.LastIndexByte(rest, ')')
	if end < 0 {
		return "", 0, fmt.Errorf("read stat of %d: %q", pid, text)
	}
	_, err = fmt.Sscanf(string(rest[end+1:]), " %s %d", new(string), &parent)
	return string(rest[:end]), parent, err
}

// halt stops the front while a keeper lives, and returns the keeper. Where its
// deadline is over sooner than that, on a slow machine, the vault is unlocked again.
func (w *world) halt() (keeper int) {
	w.t.Helper()
	w.until("a keeper that outlives the front", func() bool {
		check(w.t, w.agent.Process.Signal(unix.SIGCONT))
		w.run("vigilctl", "unlock", "--passphrase-file", w.pass)
		for _, p := range w.processes() {
			if p.role == "keeper" {
				keeper = p.pid
				check(w.t, w.agent.Process.Signal(unix.SIGSTOP))
				return !ended(keeper)
			}
		}
		return false
	})
	return keeper
}

// holdOpener keeps an opener alive: the pipe of its passphrase isn't closed
// before the test ends.
func (w *world) holdOpener() {
	w.t.Helper()
	fifo := filepath.Join(w.dir, "fifo")
	check(w.t, unix.Mkfifo(fifo, 0o600))
	keep, err := os.OpenFile(fifo, os.O_RDWR, 0)
	check(w.t, err)
	_, err = keep.WriteString("correct horse")
	check(w.t, err)
	job := w.command("vigilctl", "export", "laptop", "--output", "exported", "--no-passphrase", "--passphrase-file", fifo)
	check(w.t, job.Start())
	w.t.Cleanup(func() {
		_ = keep.Close()
		if job.Wait() == nil {
			w.t.Error("half a passphrase exports a key")
		}
	})
	w.until("an opener", func() bool {
		for _, p := range w.processes() {
			if p.role == "opener" {
				return true
			}
		}
		return false
	})
}

// holdAsker keeps a prompt open, for the key of another, locked vault.
func (w *world) holdAsker() {
	w.t.Helper()
	w.run("vigilctl", "init", "--vault", "locked", "--unlock", "--passphrase-file", w.pass, "--kdf-memory=64", "--kdf-parallelism=1")
	w.run("vigilctl", "generate", "asked", "--vault", "locked")
	public := filepath.Join(w.dir, "asked.pub")
	check(w.t, os.WriteFile(public, []byte(w.run("vigilctl", "show", "asked", "--public")), 0o600))
	w.run("vigilctl", "lock", "--vault", "locked")
	client := w.command("ssh-add", "-T", public)
	check(w.t, client.Start())
	w.t.Cleanup(func() {
		w.run("vigilctl", "lock") // closes the prompt
		if client.Wait() == nil {
			w.t.Error("it was signed though nobody answered")
		}
	})
	w.until("a prompt", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, "askpass.asked"))
		return err == nil
	})
}

// until waits for a condition.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for began := time.Now(); !holds(); {
		if time.Since(began) > deadline {
			w.t.Fatalf("waited %v for %s", deadline, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// ended tells whether a process has ended; nobody may have reaped it.
func ended(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || bytes.Contains(status, []byte("State:\tZ"))
}
