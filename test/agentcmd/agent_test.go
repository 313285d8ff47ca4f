package agentcmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

// deadline bounds waits for what happens in its own time.
const deadline = time.Minute

func TestMain(m *testing.M) { sshtest.Main(m, "vigild") }

// program is an ssh-agent.
type program struct {
	name  string
	bin   string // folder to put first in PATH
	vigil bool
	// version is OpenSSH's, as major*100+minor; Vigil counts as the newest.
	version int
}

// programs are those found here.
func programs(t *testing.T) (list []program) {
	t.Helper()
	bin := filepath.Join(shortDir(t), "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sshtest.Binary(t, "vigild"), filepath.Join(bin, "ssh-agent")); err != nil {
		t.Fatal(err)
	}
	list = append(list, program{name: "vigild", bin: bin, vigil: true, version: 9999})
	if path, err := exec.LookPath("ssh-agent"); err == nil {
		list = append(list, openSSH(t, "openssh", filepath.Dir(path), "ssh"))
	}
	if root := os.Getenv("NEWEST_OPENSSH"); root != "" {
		lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
		dir := shortDir(t)
		for _, name := range []string{"ssh-agent", "ssh"} {
			text := fmt.Sprintf("#!/bin/sh\nexec %s/ld-linux-x86-64.so.2 --library-path %[1]s %s/usr/bin/%s \"$@\"\n", lib, root, name)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, openSSH(t, "newest", dir, filepath.Join(dir, "ssh")))
	}
	return list
}

func openSSH(t *testing.T, name, bin, ssh string) program {
	t.Helper()
	out, err := exec.Command(ssh, "-V").CombinedOutput()
	m := regexp.MustCompile(`^OpenSSH_([0-9]+)\.([0-9]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s -V: %v: %s", ssh, err, out)
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	return program{name: name, bin: bin, version: major*100 + minor}
}

// world is a program with a home of its own.
type world struct {
	t *testing.T
	program
	home string
	env  []string
}

// each runs a test with every program from an OpenSSH version on.
func each(t *testing.T, since int, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, p := range programs(t) {
		t.Run(p.name, func(t *testing.T) {
			if p.version < since {
				t.Skipf("needs OpenSSH %d.%d", since/100, since%100)
			}
			test(t, newWorld(t, p))
		})
	}
}

// eachVigil runs a test of what only Vigil does.
func eachVigil(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	test(t, newWorld(t, programs(t)[0]))
}

func newWorld(t *testing.T, p program) *world {
	w := &world{t: t, program: p, home: shortDir(t)}
	if !p.vigil {
		t.Cleanup(func() { endOrphans(t) })
	}
	for _, setting := range os.Environ() {
		switch name, _, _ := strings.Cut(setting, "="); name {
		case "HOME", "PATH", "SHELL", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "TMPDIR", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY":
		default:
			w.env = append(w.env, setting)
		}
	}
	w.env = append(w.env, "HOME="+w.home, "TMPDIR="+w.home, "SHELL=/bin/sh",
		"PATH="+p.bin+":/usr/local/bin:/usr/bin:/bin") // no folder that can't be read: execvp(3) tells
	return w
}

// endOrphans ends the agents that OpenSSH left when their command ended: each
// looks every ten seconds only. Orphans come back to the outer test program.
func endOrphans(t *testing.T) {
	t.Helper()
	for _, pid := range sshtest.Children(os.Getppid()) {
		if pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

// shortDir makes a folder whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	status         int // 128+n for signal n
}

func (w *world) command(settings []string, args ...string) *exec.Cmd {
	w.t.Helper()
	path := args[0]
	if !strings.Contains(path, "/") {
		if own := filepath.Join(w.bin, path); isFile(own) {
			path = own
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = w.home
	cmd.Env = append(w.env[:len(w.env):len(w.env)], settings...)
	return cmd
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// run runs a program to its end, with settings added to its environment.
func (w *world) run(settings []string, args ...string) result {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := w.command(settings, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), status(cmd.ProcessState)}
}

func status(p *os.ProcessState) int {
	if ws := p.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// agent is one in the background.
type agent struct {
	w      *world
	socket string
	pid    int
}

var (
	shLines = regexp.MustCompile(`^SSH_AUTH_SOCK=(\S+); export SSH_AUTH_SOCK;\n` +
		`SSH_AGENT_PID=([0-9]+); export SSH_AGENT_PID;\necho Agent pid ([0-9]+);\n$`)
	cshLines        = regexp.MustCompile(`^setenv SSH_AUTH_SOCK (\S+);\nsetenv SSH_AGENT_PID ([0-9]+);\necho Agent pid ([0-9]+);\n$`)
	foregroundLines = regexp.MustCompile(`^SSH_AUTH_SOCK=(\S+); export SSH_AUTH_SOCK;\necho Agent pid ([0-9]+);\n$`)
)

// start starts an agent in the background, which prints lines of this form.
func (w *world) start(lines *regexp.Regexp, settings []string, options ...string) *agent {
	w.t.Helper()
	r := w.run(settings, append([]string{"ssh-agent"}, options...)...)
	m := lines.FindStringSubmatch(r.stdout)
	if r.status != 0 || m == nil || m[2] != m[3] {
		w.t.Fatalf("ssh-agent %v: %+v", options, r)
	}
	pid, err := strconv.Atoi(m[2])
	if err != nil {
		w.t.Fatal(err)
	}
	a := &agent{w: w, socket: m[1], pid: pid}
	w.t.Cleanup(a.end)
	if !w.vigil {
		a.keys() // OpenSSH's tells of itself before it catches signals
	}
	return a
}

// end ends the agent, if it's there, and waits until it's gone.
func (a *agent) end() {
	_ = syscall.Kill(a.pid, syscall.SIGTERM)
	a.w.until("the agent has ended", func() bool { return !sshtest.Alive(a.pid) })
}

func (a *agent) settings() []string {
	return []string{"SSH_AUTH_SOCK=" + a.socket, fmt.Sprintf("SSH_AGENT_PID=%d", a.pid)}
}

// add runs ssh-add with the agent.
func (a *agent) add(args ...string) result {
	a.w.t.Helper()
	return a.w.run(a.settings(), append([]string{"ssh-add"}, args...)...)
}

// must is add that succeeds.
func (a *agent) must(args ...string) string {
	a.w.t.Helper()
	r := a.add(args...)
	if r.status != 0 {
		a.w.t.Fatalf("ssh-add %v: %+v", args, r)
	}
	return r.stdout
}

// keys counts what the agent lists.
func (a *agent) keys() int {
	a.w.t.Helper()
	r := a.add("-l")
	switch r.status {
	case 0:
		return strings.Count(r.stdout, "\n")
	case 1:
		return 0
	}
	a.w.t.Fatalf("ssh-add -l: %+v", r)
	return 0
}

// key makes a key pair and returns the private file's name.
func (w *world) key(name string) string {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	if r := w.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path); r.status != 0 {
		w.t.Fatalf("ssh-keygen: %+v", r)
	}
	return path
}

// until waits for something to become true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("not so after %v: %s", deadline, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// gone tells whether there is nothing at a path.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}
