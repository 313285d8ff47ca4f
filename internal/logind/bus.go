package logind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	defaultAddress = "unix:path=/run/dbus/system_bus_socket"
	// callTimeout bounds the answer of a bus or a logind that hangs.
	callTimeout = 10 * time.Second
	// mostSignals is how many wait while a lock is under way. More end the connection; the
	// next one looks at what they were about.
	mostSignals = 64

	busName     = "org.freedesktop.DBus"
	logindName  = "org.freedesktop.login1"
	managerPath = "/org/freedesktop/login1"
	managerType = logindName + ".Manager"
	sessionType = logindName + ".Session"
	userType    = logindName + ".User"

	properties    = "org.freedesktop.DBus.Properties"
	changedSignal = properties + ".PropertiesChanged"
)

var (
	errNoBus   = errors.New("no system bus runs here")
	errTooMany = errors.New("logind says more than can be followed")
	errEnded   = errors.New("the connection to the system bus has ended")
	errLeft    = errors.New("logind has ended or was restarted")
)

// bus is a connection to the system bus on which logind is heard.
type bus struct {
	conn    *dbus.Conn
	close   func()
	logind  string // its unique name, by which its signals are known and it is called
	signals *signals
}

// connect connects, and has logind's signals delivered. The caller calls close.
func connect(ctx context.Context, address string, uid uint32) (*bus, error) {
	// Without descriptors: whoever may send a signal could fill this process with them.
	s := &signals{list: make(chan *dbus.Signal, mostSignals), changed: make(chan struct{}, 1), overflow: make(chan struct{}, 1)}
	conn, end, err := dial(ctx, address, uid, false, s)
	if err != nil {
		return nil, err
	}
	b := &bus{conn: conn, close: end, signals: s}
	if err := b.subscribe(ctx); err != nil {
		end()
		return nil, err
	}
	return b, nil
}

// subscribe asks for the signals that follow understands, before it asks whose they are:
// none is missed.
func (b *bus) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, logindName)},
		{dbus.WithMatchSender(logindName), dbus.WithMatchInterface(managerType), dbus.WithMatchMember("PrepareForSleep")},
		{dbus.WithMatchSender(logindName), dbus.WithMatchInterface(managerType), dbus.WithMatchMember("SessionNew")},
		{dbus.WithMatchSender(logindName), dbus.WithMatchInterface(managerType), dbus.WithMatchMember("SessionRemoved")},
		{dbus.WithMatchSender(logindName), dbus.WithMatchInterface(sessionType), dbus.WithMatchMember("Lock")},
		{dbus.WithMatchSender(logindName), dbus.WithMatchInterface(properties), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, sessionType)},
	} {
		if err := b.conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return fmt.Errorf("subscribe to logind's signals: %w", err)
		}
	}
	if err := b.conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, logindName).Store(&b.logind); err != nil {
		return fmt.Errorf("find logind on the system bus: %w", err)
	}
	b.signals.from.Store(&b.logind)
	return nil
}

// call calls a method of one of logind's objects.
func (b *bus) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return b.conn.Object(b.logind, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// get reads a property into value.
func (b *bus) get(ctx context.Context, path dbus.ObjectPath, of, name string, value any) error {
	return b.call(ctx, path, properties+".Get", of, name).Store(value)
}

// inhibit delays the machine's sleep until the descriptor that it returns is closed. It is
// received on a connection of its own, which ends at once.
func (b *bus) inhibit(ctx context.Context, address string, uid uint32) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, end, err := dial(ctx, address, uid, true, &signals{})
	if err != nil {
		return nil, err
	}
	defer end()
	var fd dbus.UnixFD
	if err := conn.Object(b.logind, managerPath).CallWithContext(ctx, managerType+".Inhibit", dbus.FlagNoAutoStart,
		"sleep", "Vigil", "Locks its keys first", "delay").Store(&fd); err != nil {
		return nil, fmt.Errorf("delay the machine's sleep: %w", err)
	}
	unix.CloseOnExec(int(fd)) // a keeper that had it would keep the machine awake
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// dial connects to a bus, and returns what ends the connection.
func dial(ctx context.Context, address string, uid uint32, descriptors bool, s *signals) (_ *dbus.Conn, end func(), err error) {
	path, err := socketOf(address)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	options := []dbus.ConnOption{dbus.WithContext(ctx), dbus.WithSignalHandler(s), dbus.WithHandler(nobody{})}
	var conn *dbus.Conn
	if descriptors {
		conn, err = dbus.Dial(addressOf(path), options...)
	} else {
		var stream net.Conn
		if stream, err = (&net.Dialer{Timeout: callTimeout}).DialContext(ctx, "unix", path); err == nil {
			conn, err = dbus.NewConn(stream, options...)
		}
	}
	if err != nil {
		cancel()
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, errNoBus
		}
		return nil, nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	end = func() {
		_ = conn.Close()
		cancel()
	}
	defer time.AfterFunc(callTimeout, cancel).Stop() // ends what follows
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.FormatUint(uint64(uid), 10))}); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	return conn, end, nil
}

// socketOf returns the socket of the first Unix address in a list. (D-Bus specification,
// Server Addresses.)
func socketOf(addresses string) (string, error) {
	for address := range strings.SplitSeq(addresses, ";") {
		options, ok := strings.CutPrefix(address, "unix:")
		for option := range strings.SplitSeq(options, ",") {
			name, value, _ := strings.Cut(option, "=")
			value, err := url.PathUnescape(value)
			switch {
			case !ok || err != nil || value == "":
			case name == "path":
				return value, nil
			case name == "abstract":
				return "@" + value, nil
			}
		}
	}
	return "", fmt.Errorf("no address of a Unix socket in %.200q", addresses)
}

// addressOf returns the address of a socket.
func addressOf(path string) string {
	if name, ok := strings.CutPrefix(path, "@"); ok {
		return "unix:abstract=" + dbus.EscapeBusAddressValue(name)
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(path)
}

// signals takes what the connection delivers. Its zero value takes nothing.
type signals struct {
	from     atomic.Pointer[string] // logind's unique name; nil: not known yet
	list     chan *dbus.Signal
	changed  chan struct{} // holds a token while sessions may have changed since the last look
	overflow chan struct{} // holds a token once list was full
}

// DeliverSignal is called for one signal after another. See [dbus.SignalHandler].
func (s *signals) DeliverSignal(_, _ string, signal *dbus.Signal) {
	if from := s.from.Load(); signal.Sender != busName && (from == nil || signal.Sender != *from) {
		return // nobody else can have either name
	}
	switch signal.Name {
	case managerType + ".SessionNew", managerType + ".SessionRemoved", changedSignal:
		set(s.changed)
		return
	}
	select {
	case s.list <- signal:
	default:
		set(s.overflow)
	}
}

// set puts a token where there may be one.
func set(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// nobody has no object: nobody may call this process.
type nobody struct{}

// LookupObject finds none. See [dbus.Handler].
func (nobody) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
