package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vigil/internal/paths"
)

// launchctlStandIn does what launchctl(1) says, on files in $HOME/launchd, where it notes its
// calls. It fails at the call whose number is in "fails". What it starts sets SSH_AUTH_SOCK.
const launchctlStandIn = `#!/bin/sh
cd "$HOME/launchd" || exit 1
echo "$*" >>calls
[ "$(wc -l <calls)" != "$(cat fails 2>/dev/null)" ] || { echo 'Input/output error' >&2; exit 5; }
start() {
	sed -n 's|.*<string>\(/.*agent.sock\)</string>|\1|p' loaded >env
	echo 4242 >pid
	[ ! -e starts ] || "$VIGILD" --ready-fd 3 3>/dev/null >/dev/null 2>&1 &
}
case $1 in
print)
	case $2 in
	*/vigild) [ -e loaded ] || exit 113; [ ! -e pid ] || printf '\tpid = %s\n' "$(cat pid)" ;;
	*) [ ! -e none ] ;;
	esac ;;
getenv) cat env 2>/dev/null ;;
setenv) echo "$3" >env ;;
unsetenv) rm -f env ;;
enable) ;;
bootstrap) [ ! -e loaded ] && cp "$3" loaded && start ;;
bootout) [ -e loaded ] && rm -f loaded pid ;;
kickstart) [ -e loaded ] && start ;;
*) exit 64 ;;
esac
`

// macBench is a bench on a Mac with a graphical login.
func macBench(t *testing.T) *bench {
	b := newBench(t)
	b.goos = macOS
	b.environ = slices.DeleteFunc(b.environ, func(kv string) bool { return strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") })
	b.environ = append(b.environ, "VIGILD="+b.vigild)
	var err error
	if b.paths, err = paths.FromEnviron(b.environ); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.paths.State, 0o700); err != nil {
		t.Fatal(err)
	}
	b.file("launchd/calls", "")
	if err := os.Chmod(b.file("programs/launchctl", launchctlStandIn), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(b.home, "programs")+":"+os.Getenv("PATH"))
	return b
}

func (b *bench) plist() string {
	return filepath.Join(b.home, "Library", "LaunchAgents", "vigild.plist")
}

// launchd returns what the stand-in has: its files without its notes, and the agent's.
func (b *bench) launchd() string {
	b.Helper()
	var all []string
	for _, path := range []string{"launchd/loaded", "launchd/pid", "launchd/env", b.plist(), b.paths.ServiceRecord()} {
		if !filepath.IsAbs(path) {
			path = filepath.Join(b.home, path)
		}
		text, err := os.ReadFile(path)
		if err == nil {
			all = append(all, path+"\n"+string(text))
		}
	}
	return strings.Join(all, "\n")
}

func TestLaunchdIsAskedForByAMac(t *testing.T) {
	b := macBench(t)
	b.file("launchd/none", "")
	b.fails(1, "no launchd of a graphical login runs here", "service", "enable")
	b.fails(1, "vigilctl up", "service", "status")
	b.environ = append(b.environ, "XDG_STATE_HOME="+b.home+"/elsewhere")
	b.fails(7, "launchd would use other folders than this shell", "service", "enable", "--yes")
}

// TestLaunchAgent: what enable changes it names first, and disable undoes.
func TestLaunchAgent(t *testing.T) {
	b := macBench(t)
	other := b.paths.AgentSocket() + ".other"
	if err := os.MkdirAll(filepath.Dir(other), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b.file("launchd/env", other+"\n")
	before := b.launchd()
	if r := b.fails(2, "Give --yes", "service", "enable"); !strings.Contains(r.errors, "leads to "+other) {
		t.Error(r.errors)
	}
	b.fails(1, "vigild doesn't run as a service", "service", "restart")
	if b.launchd() != before {
		t.Errorf("changed: %s", b.launchd())
	}
	r := b.ok("service", "enable", "--yes")
	if !strings.Contains(r.out, "on, and vigild runs (process 4242)") || !strings.Contains(r.out, "SSH_AUTH_SOCK in programs that launchd starts leads to Vigil") {
		t.Error(r.out)
	}
	on := b.launchd()
	b.ok("service", "enable") // nothing is left to ask about
	if b.launchd() != on {
		t.Errorf("a second time changed: %s", b.launchd())
	}
	b.vigild += "-moved" // as an upgrade does
	if r := b.ok("service", "status"); !strings.Contains(r.out, "isn't this build's") {
		t.Error(r.out)
	}
	if r := b.fails(2, "Give --yes", "service", "enable"); !strings.Contains(r.errors, "starts vigild again, from "+b.vigild) {
		t.Error(r.errors)
	}
	b.ok("service", "enable", "--yes")
	if text, _ := os.ReadFile(b.plist()); !strings.Contains(string(text), b.vigild) {
		t.Errorf("the agent's file: %s", text)
	}
	b.ok("service", "disable")
	if b.launchd() != before {
		t.Errorf("disabled, it is\n%s\nand was\n%s", b.launchd(), before)
	}
}

func TestLaunchAgentLeavesWhatTheUserChanged(t *testing.T) {
	b := macBench(t)
	b.ok("service", "enable", "--yes")
	mine := b.file("Library/LaunchAgents/vigild.plist", "mine")
	b.file("launchd/env", "/mine\n")
	b.fails(1, "isn't Vigil's, or was changed", "service", "enable", "--yes")
	b.ok("service", "disable")
	if text, err := os.ReadFile(mine); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if text, _ := os.ReadFile(filepath.Join(b.home, "launchd/env")); string(text) != "/mine\n" {
		t.Errorf("SSH_AUTH_SOCK is %q", text)
	}
}

// TestLaunchAgentInterrupted: whichever call fails, disable undoes what was done, and a
// disable that fails is run again.
func TestLaunchAgentInterrupted(t *testing.T) {
	b := macBench(t)
	before := b.launchd()
	const more = 12 // calls than either makes
	for _, args := range [][]string{{"service", "enable", "--yes"}, {"service", "disable"}} {
		failed, last := 0, 0
		for call := 1; call <= more; call++ {
			if args[1] == "disable" {
				b.ok("service", "enable", "--yes")
			}
			b.file("launchd/calls", "")
			b.file("launchd/fails", strconv.Itoa(call))
			if last = b.run(args...).status; last != 0 {
				failed++
			}
			b.file("launchd/fails", "")
			if b.ok("service", "disable"); b.launchd() != before {
				t.Fatalf("%q, stopped at call %d: %s", args, call, b.launchd())
			}
		}
		if failed < 3 || last != 0 {
			t.Errorf("%q failed %d times, at last with status %d", args, failed, last)
		}
	}
}

// TestUpStartsTheLaunchAgent: where launchd runs vigild, nobody else starts it.
func TestUpStartsTheLaunchAgent(t *testing.T) {
	b := macBench(t)
	b.ok("service", "enable", "--yes")
	b.file("launchd/starts", "")
	b.file("launchd/calls", "")
	if r := b.ok("up", "--passphrase-file", b.file("pass", "correct horse\n")); r.out != b.exportLine() {
		t.Errorf("%q", r.out)
	}
	calls, err := os.ReadFile(filepath.Join(b.home, "launchd/calls"))
	if err != nil || !strings.Contains(string(calls), "kickstart gui/") {
		t.Errorf("%v: %s", err, calls)
	}
}
