package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/control"
	"vigil/internal/testing/logindfake"
)

// TestMaxUnlockedHoldsWhateverIsRenewed: neither use nor a proof by the master key puts it
// off, and why says which limit it was.
func TestMaxUnlockedHoldsWhateverIsRenewed(t *testing.T) {
	dev := deviceOf(t)
	dev.configure("[vault.default]\nmax_unlocked = \"3s\"\nrefresh = \"1s\"\ncheck = \"1s\"\n")
	dev.start()
	dev.init("")
	dev.generate("work")
	dev.lock()
	before := time.Now()
	dev.unlock()
	s := dev.status()
	if s.UnlockedUntil == nil || s.UnlockedUntil.Before(before.Add(3*time.Second-time.Millisecond)) || s.UnlockedUntil.After(time.Now().Add(3*time.Second)) {
		t.Fatalf("unlocked at %v, at most until %v", s.UnlockedAt, s.UnlockedUntil)
	}
	key, a := dev.listed()[0], dev.agent()
	must(dev, &control.RefreshRequest{}) // a proof
	for sign(a, key) == nil {
	}
	if early := time.Until(*s.UnlockedUntil); early > 0 {
		t.Fatalf("locked %v too early", early)
	}
	until(t, "the vault to be locked", func() bool { return dev.status().State == control.VaultLocked })
	if !slices.ContainsFunc(dev.why(), func(r string) bool { return strings.Contains(r, "unlocked for 3s") }) {
		t.Fatalf("why says %q", dev.why())
	}
	wantChildren(t, 0, 0)
	dev.unlock() // the next one counts anew
	if next := dev.status().UnlockedUntil; next == nil || !next.After(*s.UnlockedUntil) {
		t.Fatalf("after another unlock: until %v, before it was %v", next, s.UnlockedUntil)
	}
}

// watchedDevice starts a daemon whose system bus has a login1, and a session of its user's.
func watchedDevice(t *testing.T, config string) (*device, *logindfake.Logind) {
	t.Helper()
	bus := logindfake.NewBus(t)
	l := bus.Logind()
	l.Open("1", uint32(os.Getuid()))
	dev := deviceOf(t)
	dev.bus = bus.Environ()
	dev.configure(config)
	dev.start()
	until(t, "a connection to logind", func() bool { return must(dev, &control.StatusRequest{}).LockOnProblem == "" })
	return dev, l
}

// sleeps announces a sleep, and proves that no keeper or opener runs when the machine may
// sleep.
func sleeps(t *testing.T, l *logindfake.Logind) {
	t.Helper()
	if l.Held() != 1 {
		t.Fatal("nothing delays the sleep")
	}
	l.PrepareForSleep(true)
	until(t, "the end of the inhibitor", func() bool { return l.Held() == 0 })
	wantChildren(t, 0, 0)
}

// TestNoKeeperSleeps: the vault's and that of the added keys have ended before the machine
// may sleep. It is the default, and why says what happened.
func TestNoKeeperSleeps(t *testing.T) {
	dev, l := watchedDevice(t, "")
	dev.init("")
	dev.generate("work")
	for _, hang := range []bool{false, true, false} {
		if err := dev.agent().Add(agent.AddedKey{PrivateKey: newPrivate(t), Comment: "added"}); err != nil {
			t.Fatal(err)
		}
		wantChildren(t, 2, 0)
		if hang {
			hangKeepers(t)
		}
		sleeps(t, l)
		l.PrepareForSleep(false)
		until(t, "another inhibitor", func() bool { return l.Held() == 1 })
		keys := dev.listed()
		if len(keys) != 1 {
			t.Fatalf("%d keys are listed, want the vault's", len(keys))
		}
		if sign(dev.agent(), keys[0]) == nil {
			t.Fatal("a key signed after a sleep")
		}
		if !slices.Contains(dev.why(), "the machine was put to sleep, so the vault is locked (lock_on)") {
			t.Fatalf("why says %q", dev.why())
		}
		dev.unlock()
	}
}

// hangKeepers stops every keeper, as a machine does that is out of memory.
func hangKeepers(t *testing.T) {
	t.Helper()
	keepers, _ := children(t)
	for _, pid := range keepers {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		until(t, "the keeper has stopped", func() bool { return stopped(pid) })
	}
}

// inhibitDelayMax is for how long logind delays a sleep. (logind.conf(5))
const inhibitDelayMax = 5 * time.Second

// TestManyHangingKeepers: they are waited for together, within what logind waits for.
func TestManyHangingKeepers(t *testing.T) {
	dev, l := watchedDevice(t, "")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		dev.init(name)
	}
	if err := dev.agent().Add(agent.AddedKey{PrivateKey: newPrivate(t), Comment: "added"}); err != nil {
		t.Fatal(err)
	}
	wantChildren(t, 6, 0)
	hangKeepers(t)
	begun := time.Now()
	sleeps(t, l)
	if took := time.Since(begun); took > inhibitDelayMax {
		t.Fatalf("the machine was kept awake for %v", took)
	}
}

// TestAHangingKeeperOfALockedAgent: while ssh-add -x holds, the process that checks its
// passphrase is asked to drop its keys, and stays. If it hangs, it is ended.
func TestAHangingKeeperOfALockedAgent(t *testing.T) {
	dev, l := watchedDevice(t, "")
	a := dev.agent()
	if err := errors.Join(a.Add(agent.AddedKey{PrivateKey: newPrivate(t), Comment: "added"}), a.Lock([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	l.PrepareForSleep(true)
	until(t, "the end of the inhibitor", func() bool { return l.Held() == 0 })
	wantChildren(t, 1, 0)
	if n := must(dev, &control.StatusRequest{}).AddedKeys; n != 0 {
		t.Fatalf("%d added keys are left", n)
	}
	l.PrepareForSleep(false)
	until(t, "another inhibitor", func() bool { return l.Held() == 1 })
	hangKeepers(t)
	begun := time.Now()
	sleeps(t, l)
	if took := time.Since(begun); took > inhibitDelayMax {
		t.Fatalf("the machine was kept awake for %v", took)
	}
	l.PrepareForSleep(false)
	until(t, "another inhibitor", func() bool { return l.Held() == 1 })
}

// TestASleepDuringAnUnlock: the unlock ends with its processes, and doesn't come back after
// the sleep.
func TestASleepDuringAnUnlock(t *testing.T) {
	dev, l := watchedDevice(t, "")
	dev.init("")
	dev.lock()
	first := dev.unlocking()
	until(t, "keeper and opener", func() bool { k, o := children(t); return len(k) == 1 && len(o) == 1 })
	second := dev.unlocking()
	until(t, "the second one to wait", func() bool { return goroutinesIn("turn.(*Turn).wait") == 1 })
	sleeps(t, l)
	for _, unlock := range []<-chan error{first, second} {
		wantCode(t, received(t, "the unlock", unlock), control.CodeLocked)
	}
	l.PrepareForSleep(false)
	until(t, "another inhibitor", func() bool { return l.Held() == 1 })
	if s := dev.status(); s.State != control.VaultLocked {
		t.Fatalf("the vault is %s", s.State)
	}
	dev.unlock()
}

// TestUnlockedAmidASleep: what is unlocked after the announcement is locked after the sleep.
func TestUnlockedAmidASleep(t *testing.T) {
	dev, l := watchedDevice(t, "")
	dev.init("")
	sleeps(t, l)
	dev.unlock()
	l.PrepareForSleep(false)
	until(t, "the vault to be locked", func() bool { return len(dev.why()) == 2 })
	wantChildren(t, 0, 0)
}

func TestLogoutAndScreenLock(t *testing.T) {
	dev, l := watchedDevice(t, "lock_on = [\"logout\", \"screen-lock\"]\n")
	dev.init("")
	for why, happen := range map[string]func(){
		"the screen was locked":         func() { l.Lock("1") },
		"the user's last session ended": func() { l.End("1", "lingering") },
	} {
		dev.unlock()
		happen()
		until(t, "the reason", func() bool { return slices.Contains(dev.why(), why+", so the vault is locked (lock_on)") })
		wantChildren(t, 0, 0)
		if s := dev.status(); s.State != control.VaultLocked {
			t.Fatalf("the vault is %s", s.State)
		}
		l.Open("1", uint32(os.Getuid()))
	}
	if n := l.Held(); n != 0 {
		t.Fatalf("%d inhibitors are held without suspend in lock_on", n)
	}
}

// TestWithoutABus vigild starts as fast as ever, and says what it isn't told. That is a
// warning only if the user has asked for it.
func TestWithoutABus(t *testing.T) {
	for name, tt := range map[string]struct {
		config   string
		warns    bool
		on, says string
	}{
		"by default":  {"", false, "suspend", "nothing tells it of suspend (no system bus runs here): it notices a sleep within 15 s after it"},
		"as was set":  {"lock_on = [\"suspend\", \"logout\"]\n", true, "suspend, logout", "it isn't told of suspend, logout: no system bus runs here"},
		"not at all":  {"lock_on = []\n", false, "", ""},
		"a dead peer": {"", false, "suspend", "nothing tells it of suspend (vigild has only just started): it notices a sleep within 15 s after it"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := deviceOf(t)
			dev.bus = []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus"}
			if name == "a dead peer" {
				dev.bus = []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + mute(t)}
			}
			dev.configure(tt.config)
			dev.start()
			dev.init("")
			if name != "a dead peer" && tt.on != "" {
				until(t, "the problem", func() bool {
					return strings.Contains(must(dev, &control.StatusRequest{}).LockOnProblem, "no system bus")
				})
			}
			s := must(dev, &control.StatusRequest{})
			if got := strings.Join(s.LockOn, ", "); got != tt.on {
				t.Errorf("locks on %q, want %q", got, tt.on)
			}
			warned := slices.ContainsFunc(s.Warnings, func(w string) bool {
				return strings.Contains(w, "Nothing tells vigild of suspend, logout (no system bus")
			})
			if warned != tt.warns {
				t.Errorf("status warns: %v, of %q", warned, s.Warnings)
			}
			next := ""
			if tt.warns {
				next = "Start systemd-logind (or elogind) and the system bus, or have your desktop run vigilctl lock (docs/locking.md). Until then it locks within 15 s after a sleep, and idle and max_unlocked hold."
			}
			if tt.on == "" {
				if err := dev.doctorSays("lock_on"); err.Error() != "doctor doesn't check the lock_on" {
					t.Errorf("doctor says %v", err)
				}
				return
			}
			wantAdvice(t, dev.doctorSays("lock_on"), tt.says, next)
		})
	}
}

// mute returns a socket that accepts connections and never says anything.
func mute(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mute")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return path
}
