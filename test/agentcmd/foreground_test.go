package agentcmd

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// foreground is an agent started with -d or -D.
type foreground struct {
	agent
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// startForeground starts one and reads its lines.
func (w *world) startForeground(options ...string) *foreground {
	w.t.Helper()
	f := &foreground{cmd: w.command(nil, append([]string{"ssh-agent"}, options...)...), stderr: new(bytes.Buffer)}
	f.cmd.Stderr = f.stderr
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.cmd.Process.Kill(); _ = f.cmd.Wait() })
	r := bufio.NewReader(out)
	var said string
	for range 2 {
		line, err := r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("ssh-agent %v said %q: %v: %s", options, said+line, err, f.stderr)
		}
		said += line
	}
	m := foregroundLines.FindStringSubmatch(said)
	if m == nil || m[2] != strconv.Itoa(f.cmd.Process.Pid) {
		w.t.Fatalf("ssh-agent %v said %q as process %d", options, said, f.cmd.Process.Pid)
	}
	f.agent = agent{w: w, socket: m[1], pid: f.cmd.Process.Pid}
	return f
}

// endBy sends a signal and returns the status that the agent ended with.
func (f *foreground) endBy(s os.Signal) int {
	f.w.t.Helper()
	if err := f.cmd.Process.Signal(s); err != nil {
		f.w.t.Fatal(err)
	}
	_ = f.cmd.Wait() // the status says it
	return status(f.cmd.ProcessState)
}

func TestForeground(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		id := w.key("id")
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			f := w.startForeground("-D", "-a", filepath.Join(w.home, "s"))
			f.must("-q", id)
			if got := f.endBy(s); got != 2 {
				t.Errorf("%v: status %d", s, got)
			}
			if !gone(f.socket) {
				t.Errorf("%v: the socket is left", s)
			}
		}
	})
}

// -d says on standard error what happens; what is refused, it says with the reason.
func TestDebug(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		quiet := w.startForeground("-D")
		quiet.must("-q", w.key("id"))
		quiet.endBy(syscall.SIGTERM)
		f := w.startForeground("-d")
		f.must("-q", filepath.Join(w.home, "id"))
		if r := f.add("-d", w.key("other")); r.status == 0 {
			t.Errorf("a key that isn't there was removed: %+v", r)
		}
		f.endBy(syscall.SIGTERM)
		if f.stderr.Len() <= quiet.stderr.Len() {
			t.Errorf("-d said %s\n-D said %s", f.stderr, quiet.stderr)
		}
		if w.vigil && !strings.Contains(f.stderr.String(), "does not have the key") {
			t.Errorf("-d doesn't say why: %s", f.stderr)
		}
	})
}

// activate starts an agent through a service manager's stand-in.
func (w *world) activate(settings []string, options ...string) (*exec.Cmd, string) {
	w.t.Helper()
	manager, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		w.t.Skip("no systemd-socket-activate here")
	}
	socket := filepath.Join(w.home, "activated")
	var pass []string
	for _, name := range []string{"PATH", "HOME"} {
		pass = append(pass, "-E", name)
	}
	args := append([]string{manager, "-l", socket}, pass...)
	args = append(append(args, filepath.Join(w.bin, "ssh-agent")), options...)
	cmd := w.command(settings, args...)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	w.until("the manager listens", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return cmd, socket
}

func TestSocketActivation(t *testing.T) {
	each(t, 1000, func(t *testing.T, w *world) {
		for _, options := range [][]string{{"-D"}, {"-d"}, {"-D", "-T"}, {"-D", "-t", "1h"}} {
			cmd, socket := w.activate(nil, options...)
			a := &agent{w: w, socket: socket, pid: cmd.Process.Pid}
			w.until("the agent answers", func() bool { return a.add("-l").status == 1 })
			a.must("-q", w.key("id"+strings.Join(options, "")))
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the status says it
			if got := status(cmd.ProcessState); got != 0 {
				t.Errorf("%v: status %d after SIGTERM", options, got)
			}
			if gone(socket) {
				t.Errorf("%v: it removed the manager's socket", options)
			}
			if err := os.Remove(socket); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What a service manager passes wrongly is refused: nobody would find an agent
// that serves somewhere else. What isn't meant for it is left alone.
func TestWrongActivation(t *testing.T) {
	each(t, 1000, func(t *testing.T, w *world) {
		for _, settings := range [][]string{
			{"LISTEN_FDS=1", "LISTEN_PID=1"},
			{"LISTEN_FDS=1", "LISTEN_PID=x"},
			{"LISTEN_FDS=2", "LISTEN_PID=1"},
			{"LISTEN_FDS=", "LISTEN_PID="},
		} {
			if r := w.run(settings, "ssh-agent", "-D"); r.status != 255 || r.stdout != "" {
				t.Errorf("%v: %+v", settings, r)
			}
		}
		w.start(shLines, []string{"LISTEN_FDS=1", "LISTEN_PID=1"})
		f := w.command([]string{"LISTEN_FDS=1"}, "ssh-agent", "-D", "-a", filepath.Join(w.home, "s"))
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		w.until("it serves", func() bool {
			c, err := net.Dial("unix", filepath.Join(w.home, "s"))
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		_ = f.Process.Signal(syscall.SIGTERM)
		_ = f.Wait()
	})
}

// With -c a use is asked for, through the askpass of the agent's environment.
func TestConfirm(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		id := w.key("id")
		for answer, want := range map[int]bool{0: true, 1: false} {
			script := filepath.Join(w.home, fmt.Sprint("ask", answer))
			text := fmt.Sprintf("#!/bin/sh\nprintf '%%s' \"$1\" >%s/asked\nexit %d\n", w.home, answer)
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			a := w.start(shLines, []string{"SSH_ASKPASS=" + script, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none"})
			a.must("-q", "-c", id)
			r := w.run(a.settings(), "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", id+".pub", id+".pub")
			if (r.status == 0) != want {
				t.Errorf("answer %d: %+v", answer, r)
			}
			asked, err := os.ReadFile(filepath.Join(w.home, "asked"))
			if err != nil || !strings.Contains(string(asked), "Allow use of key id?") {
				t.Errorf("asked %q, %v", asked, err)
			}
			_ = os.Remove(filepath.Join(w.home, "asked"))
			_ = os.Remove(id + ".pub.sig")
		}
	})
}
