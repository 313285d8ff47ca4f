package agentcmd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestTrailingCommand(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			options []string
			script  string
			want    result
		}{
			{nil, "exit 7", result{status: 7}},
			{nil, "echo out; echo err >&2", result{stdout: "out\n", stderr: "err\n"}},
			{[]string{"--"}, "exit 3", result{status: 3}},
			{[]string{"-t", "1h", "-a", "given"}, "echo $SSH_AUTH_SOCK", result{stdout: "given\n"}},
			{nil, "kill -TERM $$", result{status: 128 + 15}},
			{nil, "kill -KILL $$", result{status: 128 + 9}},
			{nil, "ssh-add -l", result{stdout: "The agent has no identities.\n", status: 1}},
			{nil, "test -S $SSH_AUTH_SOCK && kill -0 $SSH_AGENT_PID", result{}},
		} {
			args := append(append([]string{"ssh-agent"}, tc.options...), "sh", "-c", tc.script)
			if got := w.run(nil, args...); got != tc.want {
				t.Errorf("%v %q: %+v", tc.options, tc.script, got)
			}
			if w.vigil { // OpenSSH's looks every ten seconds, and not where the command ran
				w.until("the agent has noticed", func() bool { return gone(filepath.Join(w.home, "given")) })
			}
		}
	})
}

// The command is as if nothing had stood before it: its limits, its mask, its
// input, and other variables of the environment.
func TestCommandsSurroundings(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		// Debian's ssh-agent is set-group-id, for which TMPDIR is dropped.
		const script = "umask; ulimit -a; cat; trap; env | grep -v -e ^SSH_ -e ^TMPDIR= -e ^_= -e ^SHLVL | sort"
		run := func(args ...string) string {
			t.Helper()
			cmd := w.command([]string{"SSH_AUTH_SOCK=/before", "SSH_AGENT_PID=1"}, args...)
			cmd.Stdin = strings.NewReader("from standard input\n")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v: %s", args, err, out)
			}
			return string(out)
		}
		direct := run("sh", "-c", script)
		under := run("ssh-agent", "sh", "-c", script)
		if direct != under {
			t.Errorf("directly:\n%s\nunder the agent:\n%s", direct, under)
		}
		if out := run("ssh-agent", "sh", "-c", "env | grep -c -e ^SSH_AUTH_SOCK= -e ^SSH_AGENT_PID="); out != "2\n" {
			t.Errorf("variables: %s", out)
		}
	})
}

// The agent lives as long as the command, however that ends. OpenSSH's looks
// every ten seconds.
func TestAgentEndsWithTheCommand(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		if !w.vigil && os.Getenv("NEWEST_OPENSSH") == "" {
			t.Skip("takes OpenSSH ten seconds; done where NEWEST_OPENSSH is set")
		}
		id := w.key("id")
		cmd := w.command(nil, "ssh-agent", "sh", "-c", "ssh-add -q "+id+"; echo $SSH_AUTH_SOCK $SSH_AGENT_PID; read line")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		a := &agent{w: w}
		if _, err := fmt.Fscan(out, &a.socket, &a.pid); err != nil {
			t.Fatal(err)
		}
		if n := a.keys(); n != 1 {
			t.Errorf("%d keys", n)
		}
		keepers := sshtest.Children(a.pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(out); err != nil || strings.TrimSpace(string(rest)) != "" {
			t.Errorf("the agent kept standard output: %q, %v", rest, err)
		}
		_ = cmd.Wait() // it was killed
		w.until("the agent ended", func() bool { return !sshtest.Alive(a.pid) && gone(a.socket) })
		for _, pid := range keepers {
			w.until("its keeper ended", func() bool { return !sshtest.Alive(pid) })
		}
	})
}

// The agent can be ended before the command, which goes on.
func TestAgentEndsBeforeTheCommand(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		r := w.run(nil, "ssh-agent", "sh", "-c", "ssh-add -l >/dev/null; ssh-agent -k >/dev/null; while test -S $SSH_AUTH_SOCK; do :; done; exit 5")
		if r != (result{status: 5}) {
			t.Errorf("%+v", r)
		}
	})
}

// A file without an interpreter's name is a script, as for execvp(3).
func TestCommandIsAScriptWithoutInterpreter(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		path := filepath.Join(w.home, "script")
		if err := os.WriteFile(path, []byte("echo run with $1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if r := w.run(nil, "ssh-agent", path, "one"); r != (result{stdout: "run with one\n"}) {
			t.Errorf("%+v", r)
		}
		if r := w.run([]string{"PATH=."}, filepath.Join(w.bin, "ssh-agent"), "script", "one"); r != (result{stdout: "run with one\n"}) {
			t.Errorf("from the working folder: %+v", r)
		}
	})
}

// Signals of the terminal reach the command, not the agent.
func TestInterruptedCommand(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		cmd := w.command(nil, "ssh-agent", "sh", "-c",
			// An agent that has answered has said which signals it ignores: before that,
			// the signal below would end OpenSSH's.
			"ssh-add -l >/dev/null; trap 'ssh-add -l; exit 4' INT; echo ready $SSH_AGENT_PID; while :; do read line || exit 1; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var word string
		var pid int
		if _, err := fmt.Fscan(out, &word, &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the status says it
		if status(cmd.ProcessState) != 4 || strings.TrimSpace(string(said)) != "The agent has no identities." {
			t.Errorf("status %d: %s", status(cmd.ProcessState), said)
		}
		w.until("the agent ended with it", func() bool { return !sshtest.Alive(pid) })
	})
}
