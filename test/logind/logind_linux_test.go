package logind

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"vigil/internal/keeper"
	"vigil/internal/testing/sshtest"
)

const (
	program  = "/lib/systemd/systemd-logind"
	login1   = "org.freedesktop.login1"
	systemd1 = "org.freedesktop.systemd1"
	systemd  = "/org/freedesktop/systemd1"
	bus      = "/run/dbus/system_bus_socket"

	// powerState says what logind may have the machine do. Ours is a file of the test's.
	powerState = "/sys/power/state"

	// insideVariable is set in the namespaces.
	insideVariable = "VIGIL_TEST_LOGIND"

	patience = time.Minute
)

var inside bool

func TestMain(m *testing.M) {
	if inside = os.Getenv(insideVariable) != ""; inside {
		sshtest.MainAsObserver(m, "vigild", "vigil-opener", "vigilctl")
	}
	os.Exit(m.Run())
}

// TestARealLogind: no keeper runs when logind has the machine put to sleep; what it says of
// a session locks; and a restart of it or of the bus is got over.
func TestARealLogind(t *testing.T) {
	if inside {
		within(t)
		return
	}
	if _, err := os.Stat(program); err != nil || os.Getuid() != 0 {
		t.Skipf("only root can run a logind: uid %d, %v", os.Getuid(), err)
	}
	if _, err := os.Stat(powerState); err != nil {
		t.Skipf("this kernel can't suspend: %v", err)
	}
	namespaces := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if out, err := exec.Command("unshare", append(namespaces, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", append(namespaces, os.Args[0], "-test.run=^TestARealLogind$", "-test.v")...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestARealLogind") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// world is the inside.
type world struct {
	t      *testing.T
	dir    string
	uid    string
	vigild *exec.Cmd
	bus    *exec.Cmd
	logind *exec.Cmd
	leader *exec.Cmd // of the session
	conn   *dbus.Conn

	asleep chan int // sent when the machine would be asleep: how many keepers run
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T) {
	w := &world{t: t, asleep: make(chan int)}
	u, err := user.Lookup(sshtest.User)
	if err != nil {
		t.Skipf("%v (make deps)", err)
	}
	w.uid = u.Uid
	w.surroundings()
	w.startBus()
	w.startLogind()
	w.startVigil()

	for _, hangs := range []bool{false, true, false} {
		w.unlock()
		if hangs {
			for _, pid := range w.keepers() {
				check(t, unix.Kill(pid, unix.SIGSTOP))
			}
		}
		w.manager("Suspend", false)
		select {
		case n := <-w.asleep:
			if n != 0 {
				t.Fatalf("%d keepers run while the machine sleeps", n)
			}
		case <-time.After(patience):
			t.Fatal("the machine isn't put to sleep")
		}
		w.locked("the machine was put to sleep")
		w.until("the next sleep is delayed", func() bool { return w.inhibitors() == 1 })
	}

	w.unlock()
	w.manager("LockSession", "c1")
	w.locked("the screen was locked")
	w.unlock()
	check(t, w.conn.Object(login1, "/org/freedesktop/login1/session/c1").Call(login1+".Session.SetLockedHint", 0, true).Err)
	w.locked("the screen was locked")

	notTold := func() bool { return strings.Contains(w.vigilctl("status"), "not told") }
	for what, restart := range map[string]func(){
		"logind": func() {
			w.end(w.logind)
			w.until("the loss", notTold)
			w.startLogind()
		},
		"the bus": func() {
			w.end(w.logind)
			w.end(w.bus)
			w.until("the loss", notTold)
			w.startBus()
			w.startLogind()
		},
	} {
		restart()
		w.until("Vigil is told again after a restart of "+what, func() bool {
			return !notTold() && w.inhibitors() == 1
		})
		w.unlock()
		w.manager("LockSession", "c1")
		w.locked("the screen was locked")
	}
}

// surroundings are what logind needs to find.
func (w *world) surroundings() {
	w.t.Helper()
	check(w.t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(w.t, unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
	for _, dir := range []string{"dbus", "user", "systemd/seats", "systemd/users", "systemd/sessions", "systemd/inhibit", "systemd/machines", "systemd/system"} {
		check(w.t, os.MkdirAll(filepath.Join("/run", dir), 0o755))
	}
	check(w.t, os.WriteFile("/run/power", []byte("mem\n"), 0o644)) // nothing writes to it but systemd's helper, which isn't here
	check(w.t, unix.Mount("/run/power", powerState, "", unix.MS_BIND, ""))
	w.leader = w.start("sleep", "1h")
	// As logind finds it when it is restarted.
	check(w.t, os.WriteFile("/run/systemd/users/"+w.uid, []byte("NAME="+sshtest.User+"\nSTATE=active\nSTOPPING=no\nSESSIONS=c1\nACTIVE_SESSIONS=c1\n"), 0o644))
	check(w.t, os.WriteFile("/run/systemd/sessions/c1", fmt.Appendf(nil,
		"UID=%s\nUSER=%s\nACTIVE=1\nSTATE=active\nREMOTE=0\nTYPE=tty\nCLASS=user\nSCOPE=session-c1.scope\nLEADER=%d\n", w.uid, sshtest.User, w.leader.Process.Pid), 0o644))
}

func (w *world) start(name string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	check(w.t, cmd.Start())
	w.t.Cleanup(func() { w.end(cmd) })
	return cmd
}

func (w *world) end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// startBus starts the system bus, and a manager on it.
func (w *world) startBus() {
	w.t.Helper()
	_ = os.Remove(bus)
	w.bus = w.start("dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog", "--address=unix:path="+bus)
	w.until("the system bus", func() bool {
		conn, err := dbus.Connect("unix:path=" + bus)
		w.conn = conn
		return err == nil
	})
	check(w.t, w.conn.Export(manager{w, w.conn}, systemd, systemd1+".Manager"))
	check(w.t, w.conn.ExportSubtree(units{}, systemd, "org.freedesktop.DBus.Properties"))
	_, err := w.conn.RequestName(systemd1, dbus.NameFlagDoNotQueue)
	check(w.t, err)
}

func (w *world) startLogind() {
	w.t.Helper()
	w.logind = w.start(program)
	w.until("logind knows the session", func() bool {
		return w.conn.Object(login1, "/org/freedesktop/login1").Call(login1+".Manager.GetSession", 0, "c1").Err == nil
	})
}

// manager calls logind as its administrator.
func (w *world) manager(method string, args ...any) {
	w.t.Helper()
	check(w.t, w.conn.Object(login1, "/org/freedesktop/login1").Call(login1+".Manager."+method, 0, args...).Err)
}

// inhibitors returns how many logind knows.
func (w *world) inhibitors() int {
	w.t.Helper()
	var list []struct {
		What, Who, Why, Mode string
		UID, PID             uint32
	}
	check(w.t, w.conn.Object(login1, "/org/freedesktop/login1").Call(login1+".Manager.ListInhibitors", 0).Store(&list))
	return len(list)
}

// units answers for any unit.
type units struct{}

// Get is that of the Properties interface: every unit is loaded.
func (units) Get(string, string) (dbus.Variant, *dbus.Error) { return dbus.MakeVariant("loaded"), nil }

// manager is systemd's, as far as a sleep needs it.
type manager struct {
	w    *world
	conn *dbus.Conn
}

// Subscribe is the manager's.
func (manager) Subscribe() *dbus.Error { return nil }

// StartUnit starts nothing. When it is called, the machine would fall asleep.
func (m manager) StartUnit(unit, _ string) (dbus.ObjectPath, *dbus.Error) {
	const job = dbus.ObjectPath(systemd + "/job/1")
	if unit == "suspend.target" {
		m.w.asleep <- len(m.w.keepers())
	}
	_ = m.conn.Emit(systemd, systemd1+".Manager.JobRemoved", uint32(1), job, unit, "done")
	return job, nil
}

// keepers returns the keepers that run.
func (w *world) keepers() (pids []int) {
	for _, pid := range sshtest.Children(w.vigild.Process.Pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if args := strings.Split(string(line), "\x00"); err == nil && len(args) > 1 && args[1] == keeper.Role {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (w *world) command(name string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(sshtest.Binary(w.t, name), args...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), sshtest.VigilEnvironment(w.dir)...)
	check(w.t, sshtest.Give(w.dir))
	check(w.t, sshtest.Unprivileged(cmd))
	return cmd
}

func (w *world) vigilctl(args ...string) string {
	w.t.Helper()
	out, err := w.command("vigilctl", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("vigilctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// startVigil starts vigild, which belongs to no session, with a vault.
func (w *world) startVigil() {
	w.t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "h")
	check(w.t, err)
	w.dir = dir
	config := filepath.Join(dir, "config", "vigil")
	check(w.t, os.MkdirAll(config, 0o700))
	check(w.t, os.WriteFile(filepath.Join(config, "config.toml"), []byte("lock_on = [\"suspend\", \"screen-lock\"]\n"), 0o600))
	check(w.t, os.WriteFile(filepath.Join(dir, "pass"), []byte("correct horse battery staple\n"), 0o600))
	w.vigild = w.command("vigild")
	w.vigild.Stderr = os.Stderr
	check(w.t, w.vigild.Start())
	w.t.Cleanup(func() { w.end(w.vigild) })
	w.until("the control socket", func() bool {
		_, err := os.Stat(filepath.Join(dir, "run", "vigil", "control.sock"))
		return !errors.Is(err, fs.ErrNotExist)
	})
	w.vigilctl("init", "--passphrase-file", "pass", "--kdf-memory=64", "--kdf-parallelism=1")
	w.until("Vigil is told", func() bool { return !strings.Contains(w.vigilctl("status"), "not told") })
}

func (w *world) unlock() {
	w.t.Helper()
	w.vigilctl("unlock", "--passphrase-file", "pass")
	if n := len(w.keepers()); n != 1 {
		w.t.Fatalf("%d keepers run after an unlock", n)
	}
}

// locked waits until the vault was locked for a reason.
func (w *world) locked(why string) {
	w.t.Helper()
	w.until(why, func() bool {
		return len(w.keepers()) == 0 && strings.Contains(strings.SplitN(w.vigilctl("why"), "\n\n", 2)[0], why+", so the vault is locked")
	})
}
