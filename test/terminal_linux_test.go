package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// converse [!] talk program [arg...]: run a program on a terminal of its own,
// where the file talk holds the conversation: a line "< pattern" waits until the
// program has shown it there, a line "> text" types text and a line end, a line "^C"
// types that. What the program shows on its terminal goes to standard error.
func cmdConverse(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 2, "converse talk program [arg...]")
	t := newTerminal(ts)
	cmd := exec.Command(lookPath(ts, args[1]), args[2:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environment(ts)
	var stdout bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, &stdout, t.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	t.slave.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	failure := t.talk(ts.ReadFile(args[0]))
	if failure != nil {
		_ = cmd.Process.Kill()
	}
	var err error
	select {
	case err = <-ended:
	case <-time.After(retryDeadline):
		_ = cmd.Process.Kill()
		<-ended
		failure = fmt.Errorf("%s has not ended", args[1])
	}
	select {
	case <-t.end:
	case <-time.After(retryDeadline):
		failure = fmt.Errorf("%s has left a process on the terminal", args[1])
	}
	fmt.Fprint(ts.Stdout(), stdout.String())
	fmt.Fprint(ts.Stderr(), t.shown())
	if failure != nil {
		ts.Fatalf("%v; the terminal shows:\n%s", failure, t.shown())
	}
	if (err != nil) != neg {
		ts.Fatalf("%s: %v; the terminal shows:\n%s", args[1], err, t.shown())
	}
}

// terminal is a pseudo-terminal with the test before it.
type terminal struct {
	master, slave *os.File

	mu   sync.Mutex
	text string
	more chan struct{} // has an element when text grew
	end  chan struct{} // closed when all was read that was written
}

func newTerminal(ts *testscript.TestScript) *terminal {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	ts.Defer(func() { master.Close() })
	raw, err := master.SyscallConn()
	ts.Check(err)
	number := 0
	ts.Check(raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
		if err == nil { // wide, so that vigilctl breaks no line that a script looks for
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 1000})
		}
	}))
	ts.Check(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	t := &terminal{master: master, slave: slave, more: make(chan struct{}, 1), end: make(chan struct{})}
	go t.read()
	return t
}

func (t *terminal) read() {
	defer close(t.end)
	buf := make([]byte, 1024)
	for {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.text += string(buf[:n])
		t.mu.Unlock()
		select {
		case t.more <- struct{}{}:
		default:
		}
		if err != nil {
			return // the program ended
		}
	}
}

func (t *terminal) shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ReplaceAll(t.text, "\r\n", "\n")
}

// talk holds the conversation.
func (t *terminal) talk(script string) error {
	seen := 0
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "> "); ok {
			if _, err := t.master.WriteString(text + "\n"); err != nil {
				return err
			}
			continue
		}
		if line == "^C" {
			if _, err := t.master.Write([]byte{3}); err != nil {
				return err
			}
			continue
		}
		pattern, ok := strings.CutPrefix(line, "< ")
		if !ok {
			return fmt.Errorf("no line of a conversation: %q", line)
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return err
		}
		for deadline := time.After(retryDeadline); ; {
			if at := re.FindStringIndex(t.shown()[seen:]); at != nil {
				seen += at[1]
				break
			}
			select {
			case <-t.more:
			case <-deadline:
				return fmt.Errorf("it never asked for %q", pattern)
			}
		}
	}
	return nil
}

// environment is a script's, for programs that a command starts itself.
func environment(ts *testscript.TestScript) []string {
	env := []string{"TERM=dumb"} // unless the script says otherwise
	for _, name := range []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE",
		"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
		"TERM", "NO_COLOR", "SSH_CONNECTION",
	} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func lookPath(ts *testscript.TestScript, name string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	ts.Fatalf("no program %s", name)
	return ""
}
