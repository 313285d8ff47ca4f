package agentcmd

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

func TestLinesForTheShell(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			shell   string
			options []string
			lines   *regexp.Regexp
		}{
			{"/bin/sh", nil, shLines},
			{"/bin/tcsh", nil, cshLines},
			{"/bin/tcsh", []string{"-s"}, shLines},
			{"/bin/sh", []string{"-c"}, cshLines},
		} {
			a := w.start(tc.lines, []string{"SHELL=" + tc.shell}, tc.options...)
			if r := a.add("-l"); r.status != 1 || r.stdout != "The agent has no identities.\n" {
				t.Errorf("%v: %+v", tc.options, r)
			}
		}
		// A shell takes them for what they are.
		r := w.run(nil, "sh", "-c", `eval "$(ssh-agent)" >said; ssh-add -l; ssh-agent -k; echo $SSH_AGENT_PID; cat said`)
		if !regexp.MustCompile(`^The agent has no identities.\nunset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\n` +
			`echo Agent pid ([0-9]+) killed;\n[0-9]+\nAgent pid [0-9]+\n$`).MatchString(r.stdout) {
			t.Errorf("in a shell: %+v", r)
		}
	})
}

func TestKill(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		a := w.start(shLines, nil, "-s")
		for cshell, want := range map[string]string{
			"-s": "unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid %d killed;\n",
			"-c": "unsetenv SSH_AUTH_SOCK;\nunsetenv SSH_AGENT_PID;\necho Agent pid %d killed;\n",
		} {
			b := w.start(shLines, nil, "-s")
			r := w.run(b.settings(), "ssh-agent", cshell, "-k")
			if r != (result{stdout: fmt.Sprintf(want, b.pid)}) {
				t.Errorf("%s: %+v", cshell, r)
			}
			w.until("it is gone with its socket", func() bool { return !sshtest.Alive(b.pid) && gone(b.socket) })
		}
		if a.keys() != 0 || !sshtest.Alive(a.pid) {
			t.Error("the other agent went too")
		}
		for pid, want := range map[string]string{
			"":                      `SSH_AGENT_PID="", which is not a good PID: invalid`,
			"x":                     `SSH_AGENT_PID="x", which is not a good PID: invalid`,
			"1":                     `SSH_AGENT_PID="1", which is not a good PID: too small`,
			"99999999999":           `SSH_AGENT_PID="99999999999", which is not a good PID: too large`,
			fmt.Sprint(1<<22 + 100): "kill: No such process", // above Linux's largest
		} {
			r := w.run([]string{"SSH_AGENT_PID=" + pid}, "ssh-agent", "-k")
			if r != (result{stderr: want + "\n", status: 1}) {
				t.Errorf("%q: %+v", pid, r)
			}
		}
		r := w.run(nil, "ssh-agent", "-k")
		if r != (result{stderr: "SSH_AGENT_PID not set, cannot kill agent\n", status: 1}) {
			t.Errorf("without SSH_AGENT_PID: %+v", r)
		}
	})
}

// What is refused, and by which status; standard output stays empty, for a shell
// would evaluate it.
func TestRefusedCommandLines(t *testing.T) {
	each(t, 1005, func(t *testing.T, w *world) {
		for line, want := range map[string]struct {
			status int
			stderr string // its first line
		}{
			"-x":                                    {1, "unknown option -- x"},
			"--help":                                {1, "unknown option -- -"},
			"-t":                                    {1, "option requires an argument -- t"},
			"-t 1x":                                 {1, "Invalid lifetime"},
			"-E md4":                                {255, `Invalid hash algorithm "md4"`},
			"-O nonsense":                           {255, "Unknown -O option"},
			"-P a -P b":                             {255, "-P option already specified"},
			"-c true":                               {1, "usage: ssh-agent "},
			"-k true":                               {1, "usage: ssh-agent "},
			"-d -D":                                 {1, "usage: ssh-agent "},
			"-c -s":                                 {1, "usage: ssh-agent "},
			"-a none/s":                             {1, "cannot bind to path none/s: No such file or directory"},
			"nosuchcommand -s":                      {1, "nosuchcommand: No such file or directory"},
			"/etc/passwd":                           {1, "/etc/passwd: Permission denied"},
			"-t 5m /":                               {1, "/: Permission denied"},
			"-O websafe-allow=a -O websafe-allow=b": {255, "websafe-allow already set"},
		} {
			r := w.run(nil, append([]string{"ssh-agent"}, strings.Fields(line)...)...)
			first, _, _ := strings.Cut(strings.ReplaceAll(r.stderr, "\r", ""), "\n")
			first = strings.TrimPrefix(first, "unix_listener: ") // OpenSSH names its function
			if want.stderr == "usage: ssh-agent " && strings.HasPrefix(first, want.stderr) {
				first = want.stderr
			}
			if r.stdout != "" || r.status != want.status || first != want.stderr {
				t.Errorf("%s: %+v", line, r)
			}
		}
		if !w.vigil {
			// With a command that can't be run it leaves an agent for ten seconds.
			w.until("the agents have noticed", func() bool { return len(sockets(w.home+"/.ssh/agent")) == 0 })
		}
		if left := sockets(filepath.Join(w.home, ".ssh/agent")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func sockets(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestSeveralAtOnce(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		one, two := w.start(shLines, nil), w.start(shLines, nil, "-a", filepath.Join(w.home, "s"))
		if two.socket != filepath.Join(w.home, "s") {
			t.Errorf("-a: %s", two.socket)
		}
		one.must("-q", w.key("first"))
		two.must("-q", w.key("second"))
		if l := one.must("-l"); !strings.Contains(l, "first") || strings.Contains(l, "second") {
			t.Errorf("one has %s", l)
		}
		if l := two.must("-l"); !strings.Contains(l, "second") || strings.Contains(l, "first") {
			t.Errorf("two has %s", l)
		}
		// The socket that is served is refused to a third.
		r := w.run(nil, "ssh-agent", "-a", two.socket)
		if r.status != 1 || r.stdout != "" || !strings.Contains(r.stderr, "cannot bind to path "+two.socket+": Address already in use") {
			t.Errorf("same socket: %+v", r)
		}
		one.end()
		if two.keys() != 1 {
			t.Error("the second agent lost its key with the first one's end")
		}
	})
}

func TestSockets(t *testing.T) {
	each(t, 1001, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			options []string
			want    string // below the home folder
		}{
			{nil, `\.ssh/agent/s\.[a-zA-Z0-9]{10}\.[a-z]+\..*[a-zA-Z0-9]{10}$`},
			{[]string{"-U"}, `\.ssh/agent/s\.`},
			{[]string{"-T"}, `ssh-[a-zA-Z0-9]{12}/agent\.`},
		} {
			a := w.start(shLines, nil, tc.options...)
			base := regexp.QuoteMeta(w.home)
			if !w.vigil {
				base = "(/tmp|" + base + ")" // 10.6 doesn't look at TMPDIR for -T
			}
			if ok, _ := regexp.MatchString("^"+base+"/"+tc.want, a.socket); !ok {
				t.Errorf("%v: %s", tc.options, a.socket)
			}
			for path, want := range map[string]fs.FileMode{a.socket: fs.ModeSocket | 0o600, filepath.Dir(a.socket): fs.ModeDir | 0o700} {
				info, err := os.Stat(path)
				if err != nil || info.Mode() != want {
					t.Errorf("%v: %s: %v, %v", tc.options, path, info, err)
				}
			}
			a.end()
			if !gone(a.socket) {
				t.Errorf("%v: the socket is left", tc.options)
			}
			if tc.options != nil && tc.options[0] == "-T" && !gone(filepath.Dir(a.socket)) {
				t.Error("-T: its folder is left")
			}
		}
	})
}

func TestFolders(t *testing.T) {
	each(t, 1006, func(t *testing.T, w *world) {
		for folder, want := range map[string]string{
			"user:run/agents":  w.home + `/run/agents/s\.[a-zA-Z0-9]{10}\.`,
			"user:" + w.home:   w.home + `/s\.[a-zA-Z0-9]{10}\.`,
			"user:%%-%U":       fmt.Sprintf(`%s/%%-%d/s\.`, w.home, os.Getuid()),
			"shared:" + w.home: w.home + `/ssh-[a-zA-Z0-9]{12}/agent\.`,
		} {
			a := w.start(shLines, nil, "-A", folder)
			if ok, _ := regexp.MatchString("^"+want, a.socket); !ok {
				t.Errorf("%s: %s", folder, a.socket)
			}
		}
		for _, folder := range []string{"run", "shared:run", "user:%x", "shared:" + w.home + "/none"} {
			if r := w.run(nil, "ssh-agent", "-A", folder); r.status != 255 || r.stdout != "" {
				t.Errorf("%s: %+v", folder, r)
			}
		}
		if r := w.run(nil, "ssh-agent", "-T", "-A", "user:run"); r.status != 1 || r.stdout != "" {
			t.Errorf("-T -A: %+v", r)
		}
	})
}

func TestStaleSockets(t *testing.T) {
	each(t, 1001, func(t *testing.T, w *world) {
		// Two agents that were killed, as other hosts' clients would see them too.
		dead := func(name string, age time.Duration) string {
			a := w.start(shLines, nil, "-U")
			path := filepath.Join(filepath.Dir(a.socket), name)
			if name == "" {
				path = a.socket
			}
			if err := syscall.Kill(a.pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			// A process counts as dead before the last of its threads lets go of its files.
			w.until("it is dead", func() bool {
				conn, err := net.Dial("unix", a.socket)
				if err == nil {
					conn.Close()
				}
				return err != nil && !sshtest.Alive(a.pid)
			})
			when := time.Now().Add(-age)
			if err := os.Rename(a.socket, path); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			return path
		}
		const old = 2 * time.Hour
		mine, young, other := dead("", old), dead("", 0), dead("s.OtherHost0.agent.abcdefghij", old)
		w.start(shLines, nil, "-U").end()
		w.start(shLines, nil, "-T").end()
		if gone(mine) || gone(young) || gone(other) {
			t.Fatal("-U or -T cleaned up")
		}
		w.start(shLines, nil).end()
		if !gone(mine) || gone(young) || gone(other) {
			t.Errorf("at start: mine gone %v, young %v, other %v", gone(mine), gone(young), gone(other))
		}
		mine = dead("", old)
		r := w.run(nil, "ssh-agent", "-u")
		if r.status != 0 || !strings.HasPrefix(r.stdout, "Deleted stale agent sockets in ~/") || !gone(mine) || gone(young) || gone(other) {
			t.Errorf("-u: %+v: mine gone %v, young %v, other %v", r, gone(mine), gone(young), gone(other))
		}
		live := w.start(shLines, nil)
		when := time.Now().Add(-old)
		if err := os.Chtimes(live.socket, when, when); err != nil {
			t.Fatal(err)
		}
		if r := w.run(nil, "ssh-agent", "-u", "-u"); r.status != 0 || gone(young) || !gone(other) || gone(live.socket) {
			t.Errorf("-u -u: %+v: young gone %v, other %v, live %v", r, gone(young), gone(other), gone(live.socket))
		}
	})
}

func TestLifetime(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		const lifetime = 3 * time.Second
		a := w.start(shLines, nil, "-t", "3s")
		long, short := w.key("long"), w.key("short")
		a.must("-q", "-t", "1h", long)
		added := time.Now() // or later
		a.must("-q", short)
		// On a machine so busy that the lifetime is over by now, its end alone is seen.
		if n := a.keys(); n != 2 && time.Since(added) < lifetime {
			t.Errorf("%d keys at first", n)
		}
		w.until("the key is gone", func() bool { return a.keys() == 1 })
		if l := a.must("-l"); !strings.Contains(l, "long") {
			t.Errorf("left is %s", l)
		}
	})
}

// The agent leaves the caller: a session of its own, the root folder, nothing
// open that was the caller's, and nobody reads its memory.
func TestBackground(t *testing.T) {
	each(t, 1000, func(t *testing.T, w *world) {
		r, inherited, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := w.command(nil, "sh", "-c", "ssh-agent -s 9>&3 3>&-")
		cmd.ExtraFiles = []*os.File{inherited}
		out, err := cmd.Output()
		inherited.Close()
		m := shLines.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v: %s", err, out)
		}
		a := &agent{w: w, socket: string(m[1])}
		if _, err := fmt.Sscan(string(m[2]), &a.pid); err != nil {
			t.Fatal(err)
		}
		defer a.end()
		if err := r.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a descriptor of the caller is still open: %v", err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.pid))
		if err != nil {
			t.Skip("no /proc here")
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(after); f[2] != fmt.Sprint(a.pid) || f[3] != fmt.Sprint(a.pid) || f[4] != "0" {
			t.Errorf("process group %s, session %s, terminal %s of process %d", f[2], f[3], f[4], a.pid)
		}
		if !w.vigil {
			return // OpenSSH's, as packaged, relies on a set-group-id bit
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", a.pid))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("its memory is its user's to read: %v", err)
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", a.pid))
		if err != nil || string(comm) != "ssh-agent\n" {
			t.Errorf("it is called %q, %v", comm, err)
		}
	})
}

func TestSignals(t *testing.T) {
	each(t, 1000, func(t *testing.T, w *world) {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			a := w.start(shLines, nil)
			a.must("-q", w.key("key"+fmt.Sprint(int(s))))
			for _, harmless := range []syscall.Signal{syscall.SIGINT, syscall.SIGPIPE} {
				if err := syscall.Kill(a.pid, harmless); err != nil {
					t.Fatal(err)
				}
			}
			if n := a.keys(); n != 1 {
				t.Errorf("%d keys", n)
			}
			if err := syscall.Kill(a.pid, syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			w.until("SIGUSR1 dropped the key", func() bool { return a.keys() == 0 })
			a.must("-q", filepath.Join(w.home, "key"+fmt.Sprint(int(s))))
			if err := syscall.Kill(a.pid, s); err != nil {
				t.Fatal(err)
			}
			w.until(s.String()+" ended it", func() bool { return !sshtest.Alive(a.pid) && gone(a.socket) })
		}
	})
}

// SIGUSR1 drops keys while the agent is locked too, and the lock stays.
func TestSignalWhileLocked(t *testing.T) {
	eachVigil(t, func(t *testing.T, w *world) {
		a := w.start(shLines, nil)
		a.must("-q", w.key("id"))
		lock := func(option string) {
			t.Helper()
			script := filepath.Join(w.home, "ask")
			if err := os.WriteFile(script, []byte("#!/bin/sh\necho secret\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := w.command(append(a.settings(), "SSH_ASKPASS="+script, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none"), "ssh-add", option)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("ssh-add %s: %v: %s", option, err, out)
			}
		}
		lock("-x")
		if err := syscall.Kill(a.pid, syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		lock("-X")
		w.until("the key is gone", func() bool { return a.keys() == 0 })
	})
}

// Keys live in a keeper of the agent's own, which ends with it, or without keys.
func TestKeeper(t *testing.T) {
	eachVigil(t, func(t *testing.T, w *world) {
		a := w.start(shLines, nil)
		if pids := sshtest.Children(a.pid); len(pids) != 0 {
			t.Errorf("processes %v without a key", pids)
		}
		a.must("-q", w.key("id"))
		keepers := sshtest.Children(a.pid)
		if len(keepers) != 1 {
			t.Fatalf("keepers: %v", keepers)
		}
		a.must("-q", "-D")
		w.until("it ended with the last key", func() bool { return !sshtest.Alive(keepers[0]) })
		a.must("-q", filepath.Join(w.home, "id"))
		keepers = sshtest.Children(a.pid)
		if err := syscall.Kill(a.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.until("it ended with the agent", func() bool { return len(keepers) == 1 && !sshtest.Alive(keepers[0]) })
	})
}

// Nothing is written but the socket, and nothing of vigild's own is touched.
func TestInMemoryAlone(t *testing.T) {
	eachVigil(t, func(t *testing.T, w *world) {
		id := w.key("id")
		// A configuration that vigild would refuse to start with.
		config := filepath.Join(w.home, ".config", "vigil")
		if err := os.MkdirAll(config, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(config, "config.toml"), []byte("nonsense = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := w.start(shLines, []string{"XDG_RUNTIME_DIR=" + w.home + "/run"})
		a.must("-q", id)
		a.end()
		var files []string
		err := filepath.WalkDir(w.home, func(path string, _ fs.DirEntry, err error) error {
			files = append(files, strings.TrimPrefix(path, w.home))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want := " /.config /.config/vigil /.config/vigil/config.toml /.ssh /.ssh/agent /id /id.pub"
		if got := strings.Join(files, " "); got != want {
			t.Errorf("files: %s", got)
		}
	})
}

// -P says which libraries ssh-add may name for keys in security keys.
func TestProvidersOfSecurityKeys(t *testing.T) {
	const dummy = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so"
	if !isFile(dummy) {
		t.Skip("openssh-tests isn't installed")
	}
	each(t, 902, func(t *testing.T, w *world) {
		key := filepath.Join(w.home, "token")
		if r := w.run(nil, "ssh-keygen", "-q", "-t", "ed25519-sk", "-w", dummy, "-N", "", "-f", key); r.status != 0 {
			t.Fatalf("ssh-keygen: %+v", r)
		}
		for _, tt := range []struct {
			options []string
			taken   bool
		}{
			{nil, true},
			{[]string{"-P", "/usr/lib/*"}, true},
			{[]string{"-P", "/usr/lib/*.so,!/nowhere/*"}, true},
			{[]string{"-P", "/nowhere/*"}, false},
			{[]string{"-P", "/usr/lib/*,!*/sk-dummy.so"}, false},
			{[]string{"-P", ""}, false},
		} {
			a := w.start(shLines, nil, append([]string{"-s"}, tt.options...)...)
			if r := a.add("-S", dummy, key); (r.status == 0) != tt.taken {
				t.Errorf("ssh-agent %q: %+v, taken is %v", tt.options, r, tt.taken)
			}
			if r := a.add("-T", key+".pub"); (r.status == 0) != tt.taken {
				t.Errorf("ssh-agent %q: ssh-add -T: %+v", tt.options, r)
			}
		}
	})
}

// Options that loosen what keys on tokens may do are taken, and said to do nothing.
func TestOptionsWithoutEffect(t *testing.T) {
	eachVigil(t, func(t *testing.T, w *world) {
		r := w.run(nil, "sh", "-c", `eval "$(ssh-agent -s -O no-restrict-websafe -P '/usr/lib/*' -E md5)" && ssh-add -l; ssh-agent -k`)
		if !strings.HasPrefix(r.stderr, "-O no-restrict-websafe has no effect") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%+v", r)
		}
		a := w.start(shLines, nil)
		if r := a.add("-s", "/usr/lib/none.so"); r.status == 0 {
			t.Errorf("a token was taken: %+v", r)
		}
	})
}
