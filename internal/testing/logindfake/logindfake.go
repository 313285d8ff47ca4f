// Package logindfake is a login1 for tests, on a dbus-daemon of its own. Its inhibitors are
// pipes: what holds one can be seen, as logind sees it.
package logindfake

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	name       = "org.freedesktop.login1"
	manager    = "/org/freedesktop/login1"
	user       = manager + "/user/self"
	session    = manager + "/session/"
	properties = "org.freedesktop.DBus.Properties"
)

// Bus is a message bus, which can be restarted.
type Bus struct {
	t      testing.TB
	socket string
	cmd    *exec.Cmd
}

// NewBus starts a dbus-daemon. It skips the test where there is none.
func NewBus(t testing.TB) *Bus {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "bus") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &Bus{t: t, socket: filepath.Join(dir, "bus")}
	b.Start()
	return b
}

// Environ is the environment of a program to which it is the system bus.
func (b *Bus) Environ() []string { return []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + b.socket} }

// Start starts the bus again after Stop.
func (b *Bus) Start() {
	b.t.Helper()
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--nosyslog", "--print-address", "--address=unix:path="+b.socket)
	cmd.Env = []string{"XDG_DATA_DIRS=" + filepath.Dir(b.socket), "XDG_DATA_HOME=" + filepath.Dir(b.socket)} // no services
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Skip(err)
	}
	b.cmd = cmd
	b.t.Cleanup(b.Stop)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.t.Fatal(err)
	}
}

// Stop ends the bus.
func (b *Bus) Stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
	_ = os.Remove(b.socket)
}

// Conn returns a new connection, which ends with the test.
func (b *Bus) Conn() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Environ()[0][len("DBUS_SYSTEM_BUS_ADDRESS="):])
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Logind is a login1. It knows one user, whoever that is.
type Logind struct {
	t    testing.TB
	conn *dbus.Conn

	mu         sync.Mutex
	sessions   map[string]*details
	state      string // of the user; "": there is none
	sleeping   bool
	refuse     bool
	inhibitors []*os.File // the ends that it keeps
	looks      int
}

// details are of one session.
type details struct {
	uid    uint32
	locked bool
}

// Logind starts a login1 on the bus.
func (b *Bus) Logind() *Logind {
	b.t.Helper()
	l := &Logind{t: b.t, conn: b.Conn(), sessions: map[string]*details{}}
	l.must(l.conn.Export(managerMethods{l}, manager, name+".Manager"))
	l.must(l.conn.ExportSubtree(propertyMethods{l}, manager, properties))
	reply, err := l.conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("%v, %v", reply, err)
	}
	b.t.Cleanup(l.Close)
	return l
}

// Close ends it. Who holds an inhibitor keeps it.
func (l *Logind) Close() {
	_ = l.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.inhibitors {
		_ = f.Close()
	}
	l.inhibitors = nil
}

func (l *Logind) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// RefuseInhibitors makes it refuse them from now on, as polkit may, or not any more.
func (l *Logind) RefuseInhibitors(refuse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

// Held returns how many inhibitors somebody holds.
func (l *Logind) Held() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.inhibitors {
		ready := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(ready, 0)
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Poll(ready, 0)
		}
		if err != nil {
			l.t.Error(err)
		}
		if ready[0].Revents&unix.POLLHUP == 0 {
			n++
		}
	}
	return n
}

// Looks returns how often it was asked for the user's state.
func (l *Logind) Looks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looks
}

// PrepareForSleep announces a sleep, or its end.
func (l *Logind) PrepareForSleep(before bool) {
	l.t.Helper()
	l.mu.Lock()
	l.sleeping = before
	l.mu.Unlock()
	l.must(l.conn.Emit(manager, name+".Manager.PrepareForSleep", before))
}

// Sleeping sets whether a sleep is under way, without a word.
func (l *Logind) Sleeping(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sleeping = is
}

// Open opens a session of a user.
func (l *Logind) Open(id string, uid uint32) {
	l.t.Helper()
	path := dbus.ObjectPath(session + id)
	l.mu.Lock()
	l.sessions[id] = &details{uid: uid}
	l.state = "active"
	l.mu.Unlock()
	l.must(l.conn.Emit(manager, name+".Manager.SessionNew", id, path))
}

// End ends a session. state is what is the user's then; "": the user is gone.
func (l *Logind) End(id, state string) {
	l.t.Helper()
	l.mu.Lock()
	delete(l.sessions, id)
	l.state = state
	l.mu.Unlock()
	l.must(l.conn.Emit(manager, name+".Manager.SessionRemoved", id, dbus.ObjectPath(session+id)))
}

// State sets the user's state, without a word.
func (l *Logind) State(state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state
}

// Lock asks a session to lock, as `loginctl lock-session` does.
func (l *Logind) Lock(id string) {
	l.t.Helper()
	l.must(l.conn.Emit(dbus.ObjectPath(session+id), name+".Session.Lock"))
}

// Hint says whether a session's screen is locked, as a screen locker does.
func (l *Logind) Hint(id string, locked bool) {
	l.t.Helper()
	l.mu.Lock()
	l.sessions[id].locked = locked
	l.mu.Unlock()
	l.must(l.conn.Emit(dbus.ObjectPath(session+id), properties+".PropertiesChanged",
		name+".Session", map[string]dbus.Variant{"LockedHint": dbus.MakeVariant(locked)}, []string{}))
}

type managerMethods struct{ l *Logind }

// GetUser is login1's.
func (m managerMethods) GetUser(uint32) (dbus.ObjectPath, *dbus.Error) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	if m.l.state == "" {
		return "/", dbus.NewError(name+".NoSuchUser", nil)
	}
	return user, nil
}

// Inhibit is login1's.
func (m managerMethods) Inhibit(call dbus.Message, what, _, _, mode string) (dbus.UnixFD, *dbus.Error) {
	l := m.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse || l.sleeping || what != "sleep" || mode != "delay" {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Permission denied"})
	}
	kept, given, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	defer given.Close()
	l.inhibitors = append(l.inhibitors, kept)
	// The reply has left when Send returns, so that given can be closed. The library's own
	// reply is to a call that has been answered: nobody gets it.
	fd := dbus.UnixFD(given.Fd())
	l.conn.Send(&dbus.Message{
		Type: dbus.TypeMethodReply, Body: []any{fd},
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: call.Headers[dbus.FieldSender],
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(fd)),
		},
	}, nil)
	return 0, dbus.NewError("org.freedesktop.DBus.Error.Failed", nil)
}

type propertyMethods struct{ l *Logind }

// Get is that of login1's objects.
func (p propertyMethods) Get(call dbus.Message, _, property string) (dbus.Variant, *dbus.Error) {
	l := p.l
	path, _ := call.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[strings.TrimPrefix(string(path), session)]
	switch {
	case property == "PreparingForSleep":
		return dbus.MakeVariant(l.sleeping), nil
	case property == "State":
		l.looks++
		return dbus.MakeVariant(l.state), nil
	case property == "Sessions":
		type one struct {
			ID   string
			Path dbus.ObjectPath
		}
		list := []one{}
		for id := range l.sessions {
			list = append(list, one{id, dbus.ObjectPath(session + id)})
		}
		return dbus.MakeVariant(list), nil
	case s == nil:
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownObject", nil)
	case property == "LockedHint":
		return dbus.MakeVariant(s.locked), nil
	case property == "User":
		return dbus.MakeVariant(struct {
			UID  uint32
			Path dbus.ObjectPath
		}{s.uid, user}), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
}
