package logind

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"vigil/internal/clock"
	"vigil/internal/config"
	"vigil/internal/testing/logindfake"
)

const me, other = 1000, 1001

// patience bounds what is immediate on an idle machine.
const patience = time.Minute

var all = []config.LockEvent{config.LockOnSuspend, config.LockOnLogout, config.LockOnScreenLock}

// watched is a watcher that runs.
type watched struct {
	*Watcher
	t     *testing.T
	told  chan config.LockEvent // unbuffered: the lock is under way until it is received
	slept atomic.Int64          // how long the machine has
}

func watch(t *testing.T, environ []string, events ...config.LockEvent) *watched {
	t.Helper()
	return watchLooking(t, time.Hour, environ, events...)
}

func watchLooking(t *testing.T, looks time.Duration, environ []string, events ...config.LockEvent) *watched {
	t.Helper()
	w := &watched{Watcher: New(environ, me, slog.New(slog.NewTextHandler(io.Discard, nil))), t: t, told: make(chan config.LockEvent)}
	w.pause, w.looks = time.Millisecond, looks
	w.boot = func() time.Duration { return clock.BootTime() + time.Duration(w.slept.Load()) }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Watch(ctx, events, func(ctx context.Context, e config.LockEvent) {
			select {
			case w.told <- e:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return w
}

// connected waits until the watcher is told of everything.
func (w *watched) connected() {
	w.t.Helper()
	w.until("a connection to logind", func() bool { return w.Problem() == nil })
}

func (w *watched) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v (%v)", what, patience, w.Problem())
		}
	}
}

// wants waits for an event.
func (w *watched) wants(want config.LockEvent) {
	w.t.Helper()
	select {
	case got := <-w.told:
		if got != want {
			w.t.Fatalf("told of %s, want %s", got, want)
		}
	case <-time.After(patience):
		w.t.Fatalf("not told of %s (%v)", want, w.Problem())
	}
}

// wantsNext proves that nothing else is told first: l announces a sleep's end, which is.
func (w *watched) wantsNext(l *logindfake.Logind) {
	w.t.Helper()
	l.PrepareForSleep(false)
	w.wants(config.LockOnSuspend)
}

// TestTheMachineSleepsAfterTheLock: the inhibitor is released when gone has returned and
// no earlier, and taken again after the sleep.
func TestTheMachineSleepsAfterTheLock(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	w := watch(t, bus.Environ(), config.LockOnSuspend)
	w.connected()
	for range 2 {
		if n := l.Held(); n != 1 {
			t.Fatalf("%d inhibitors are held", n)
		}
		child := exec.CommandContext(t.Context(), "sleep", "1h") // as a prompt, it may outlive a lock
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = child.Wait() })
		l.PrepareForSleep(true)
		w.until("the lock", func() bool {
			if n := l.Held(); n != 1 {
				t.Fatalf("%d inhibitors are held before the lock", n)
			}
			select {
			case e := <-w.told:
				return e == config.LockOnSuspend
			default:
				return false
			}
		})
		w.until("the end of the inhibitor", func() bool { return l.Held() == 0 })
		l.PrepareForSleep(false)
		w.wants(config.LockOnSuspend)
		w.until("another inhibitor", func() bool { return l.Held() == 1 })
	}
}

// TestOnlyWhatIsAskedFor is told.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Open("1", me)
	w := watch(t, bus.Environ(), config.LockOnLogout)
	w.connected()
	if n := l.Held(); n != 0 {
		t.Fatalf("%d inhibitors are held, for no lock before a sleep", n)
	}
	l.PrepareForSleep(true)
	l.Lock("1")
	l.Hint("1", true)
	l.End("1", "lingering")
	w.wants(config.LockOnLogout)
}

// TestLogout is the end of the last session that isn't closing.
func TestLogout(t *testing.T) {
	for _, state := range []string{"", "lingering", "closing", "offline"} {
		t.Run("then "+state, func(t *testing.T) {
			bus := logindfake.NewBus(t)
			l := bus.Logind()
			l.Open("1", me)
			w := watch(t, bus.Environ(), all...)
			w.connected()
			l.Open("2", me)
			l.End("1", "online")
			w.wantsNext(l)
			l.End("2", state)
			w.wants(config.LockOnLogout)
			l.Open("3", me)
			l.Open("4", other)
			before := l.Looks()
			l.End("4", "active")
			w.wantsNext(l)
			w.until("it sees the session", func() bool { return l.Looks() > before })
			l.End("3", state)
			w.wants(config.LockOnLogout)
		})
	}
}

// TestNoSessionIsNoLogout: a daemon that lingers starts before its user has logged in.
func TestNoSessionIsNoLogout(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	w := watch(t, bus.Environ(), all...)
	w.connected()
	l.End("4", "")
	w.wantsNext(l)
}

// TestScreenLock: this user's sessions, by the request to lock and by the hint that it is.
func TestScreenLock(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Open("1", me)
	l.Open("2", me)
	l.Open("3", other)
	w := watch(t, bus.Environ(), all...)
	w.connected()
	l.Lock("1")
	w.wants(config.LockOnScreenLock)
	l.Hint("1", true)
	w.wants(config.LockOnScreenLock)
	l.Hint("2", true)
	w.wants(config.LockOnScreenLock)
	l.Hint("1", false)
	l.Lock("3")
	l.Lock("4") // there is no such session
	w.wantsNext(l)
}

// TestForgedSignals: any user may send any signal to any process on the system bus.
func TestForgedSignals(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Open("1", me)
	w := watch(t, bus.Environ(), all...)
	w.connected()
	forger := bus.Conn()
	var names []string
	var genuine string
	if err := errors.Join(forger.BusObject().Call(busName+".ListNames", 0).Store(&names),
		forger.BusObject().Call(busName+".GetNameOwner", 0, logindName).Store(&genuine)); err != nil {
		t.Fatal(err)
	}
	forge := func(path dbus.ObjectPath, iface, member string, body ...any) {
		t.Helper()
		for _, name := range names {
			if !strings.HasPrefix(name, ":") || name == genuine || name == forger.Names()[0] {
				continue
			}
			m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldPath: dbus.MakeVariant(path),
				dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
			}}
			if len(body) > 0 {
				m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
			}
			if call := forger.Send(m, nil); call.Err != nil {
				t.Fatal(call.Err)
			}
		}
	}
	forge(managerPath+"/session/1", sessionType, "Lock")
	forge(managerPath, managerType, "PrepareForSleep", true)
	forge("/org/freedesktop/DBus", busName, "NameOwnerChanged", logindName, ":1.1", "")
	for range 2 * mostSignals {
		forge(managerPath, managerType, "Nothing")
	}
	r, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	forge(managerPath, managerType, "Nothing", dbus.UnixFD(held.Fd()))
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := forger.BusObject().Call(busName+".GetId", 0).Err; err != nil { // the bus has them all
		t.Fatal(err)
	}
	w.wantsNext(l)
	w.until("an inhibitor", func() bool { return l.Held() == 1 && w.Problem() == nil })
	w.until("the end of the descriptor that the forger has sent", func() bool {
		ready := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
		_, _ = unix.Poll(ready, 0)
		return ready[0].Revents&unix.POLLHUP != 0
	})
}

// TestTheBusRestarts, and logind alone: what was missed is told.
func TestTheBusRestarts(t *testing.T) {
	for name, restart := range map[string]func(*logindfake.Bus, *logindfake.Logind, *watched) *logindfake.Logind{
		"the bus": func(b *logindfake.Bus, l *logindfake.Logind, w *watched) *logindfake.Logind {
			l.Close()
			b.Stop()
			w.until("a problem", func() bool { return w.Problem() != nil })
			b.Start()
			return b.Logind()
		},
		"logind": func(b *logindfake.Bus, l *logindfake.Logind, w *watched) *logindfake.Logind {
			l.Close()
			w.until("a problem", func() bool { return w.Problem() != nil })
			return b.Logind()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bus := logindfake.NewBus(t)
			l := bus.Logind()
			l.Open("1", me)
			w := watch(t, bus.Environ(), all...)
			w.connected()
			l = restart(bus, l, w)
			l.Open("1", me) // it was there all the time
			w.connected()
			w.until("an inhibitor", func() bool { return l.Held() == 1 })
			l.PrepareForSleep(true)
			w.wants(config.LockOnSuspend)
			w.until("the end of the inhibitor", func() bool { return l.Held() == 0 })
		})
	}
}

// TestASleepUnderWayAtTheConnection is told at once. No inhibitor delays that one.
func TestASleepUnderWayAtTheConnection(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Sleeping(true)
	w := watch(t, bus.Environ(), all...)
	w.wants(config.LockOnSuspend)
	w.connected()
	l.PrepareForSleep(false)
	w.wants(config.LockOnSuspend)
	w.until("an inhibitor", func() bool { return l.Held() == 1 })
}

// TestARefusedInhibitor is a problem, and a sleep locks all the same.
func TestARefusedInhibitor(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.RefuseInhibitors(true)
	w := watchLooking(t, time.Millisecond, bus.Environ(), all...)
	w.until("the problem", func() bool {
		return w.Problem() != nil && strings.Contains(w.Problem().Error(), "delay the machine's sleep: Permission denied")
	})
	l.PrepareForSleep(true)
	w.wants(config.LockOnSuspend)
	l.Sleeping(false)
	l.RefuseInhibitors(false)
	w.connected() // it has asked again
	if n := l.Held(); n != 1 {
		t.Fatalf("%d inhibitors are held", n)
	}
}

// TestWhatNoSignalTells is seen: a sleep that logind didn't start, and a session that is
// closing.
func TestWhatNoSignalTells(t *testing.T) {
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Open("1", me)
	w := watchLooking(t, time.Millisecond, bus.Environ(), all...)
	w.connected()
	w.slept.Add(int64(time.Hour))
	w.wants(config.LockOnSuspend)
	l.State("closing")
	w.wants(config.LockOnLogout)
}

// TestWithoutLogind a sleep is noticed after it, by clocks.
func TestWithoutLogind(t *testing.T) {
	empty := logindfake.NewBus(t)
	for name, environ := range map[string][]string{
		"nothing there":    {"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus"},
		"no Unix socket":   {"DBUS_SYSTEM_BUS_ADDRESS=tcp:host=localhost,port=1"},
		"a bus without it": empty.Environ(),
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, environ, all...)
			w.until("the problem", func() bool { return w.Problem() != nil && w.Problem() != errStarted })
			w.slept.Add(int64(time.Hour))
			w.wants(config.LockOnSuspend)
			w.slept.Add(int64(time.Hour))
			w.wants(config.LockOnSuspend)
		})
	}
}

// TestWaitingIsNoSleep: a process that had to wait while it read the clocks hasn't slept.
func TestWaitingIsNoSleep(t *testing.T) {
	begin := time.Now()
	at := func(boot, before, after time.Duration) clocks {
		return clocks{boot, begin.Add(before), begin.Add(after)}
	}
	const s, h = time.Second, time.Hour
	for name, tt := range map[string]struct {
		from, to clocks
		sleep    bool
	}{
		"awake":                        {at(0, 0, 0), at(9*s, 9*s, 9*s), false},
		"slept":                        {at(0, 0, 0), at(h+9*s, 9*s, 9*s), true},
		"waited before boot was read":  {at(9*s, 0, 9*s), at(10*s, 10*s, 10*s), false},
		"waited after boot was read":   {at(0, 0, 9*s), at(10*s, 10*s, 10*s), false},
		"waited at the second reading": {at(0, 0, 0), at(9*s, 0, 9*s), false},
		"slept and waited":             {at(0, 0, 9*s), at(h, 10*s, 19*s), true},
	} {
		if got := slept(tt.from, tt.to); got >= leastSleep != tt.sleep {
			t.Errorf("%s: slept %v", name, got)
		}
	}
}

func TestSocketOf(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/dbus/system_bus_socket":       "/run/dbus/system_bus_socket",
		"unix:guid=00ff,path=/a%20b":                  "/a b",
		"tcp:host=localhost,port=1;unix:abstract=bus": "@bus",
		"tcp:path=/a": "", "unix:tmpdir=/tmp": "", "unix:path=": "", "unix:path=%zz": "", "": "",
	} {
		if got, err := socketOf(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
		if want == "" {
			continue
		}
		if got, err := socketOf(addressOf(want)); got != want || err != nil {
			t.Errorf("%q, written as %q, is read as %q, %v", want, addressOf(want), got, err)
		}
	}
}
