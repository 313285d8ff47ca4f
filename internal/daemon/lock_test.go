package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"

	"vigil/internal/control"
)

func TestWrongPassphrasesAreCounted(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.lock()
	for range 2 {
		wantCode(t, dev.unlockWith("wrong"), control.CodeWrongPassphrase)
	}
	s := dev.status()
	if s.RetryAfter == nil || s.State != control.VaultLocked {
		t.Fatalf("status doesn't say that attempts are slowed down: %+v", s)
	}
	wantChildren(t, 0, 0)
	dev.unlock()
	if s := dev.status(); s.RetryAfter != nil {
		t.Fatal("still slowed down after a right one")
	}
	if r := dev.why(); len(r) != 2 || !strings.Contains(r[0], "wrong passphrase") {
		t.Fatalf("why says %q", r)
	}
}

// unlocking makes the daemon wait for a passphrase, and returns the unlock's result.
func (dev *device) unlocking() <-chan error {
	dev.t.Helper()
	result := make(chan error, 1)
	pass := withheld(dev.t)
	go func() {
		_, err := send(dev, &control.UnlockRequest{Passphrase: pass})
		result <- err
	}()
	return result
}

func received(t *testing.T, what string, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(patience):
		t.Fatalf("%s takes more than %v", what, patience)
		return nil
	}
}

// goroutinesIn counts the goroutines in a function.
func goroutinesIn(function string) int {
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	return strings.Count(stacks.String(), "vigil/internal/"+function+"(")
}

// TestAClientThatGoesAwayIsTold: why says that, and nothing of the means by which its job
// was ended.
func TestAClientThatGoesAwayIsTold(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.lock()
	c, err := control.Dial(t.Context(), dev.paths.ControlSocket())
	if err != nil {
		t.Fatal(err)
	}
	pass := withheld(t)
	ended := make(chan error, 1)
	go func() {
		_, err := control.Do(t.Context(), c, &control.UnlockRequest{Passphrase: pass})
		ended <- err
	}()
	until(t, "keeper and opener", func() bool { k, o := children(t); return len(k) == 1 && len(o) == 1 })
	c.Close()
	if err := received(t, "the unlock", ended); err == nil {
		t.Fatal("unlocked without a passphrase")
	}
	until(t, "the refusal", func() bool { return dev.d.why.count() > 0 })
	if r := dev.d.why.newest(1)[0]; r.What != "unlock" || r.Reason != "the client went away before it was done" {
		t.Fatalf("recorded %+v", r)
	}
}

// TestLockDuringUnlock: when lock has returned, no process knows a secret, and no
// earlier request unlocks the vault.
func TestLockDuringUnlock(t *testing.T) {
	for name, between := range map[string]func(t *testing.T){
		"with all processes running": func(*testing.T) {},
		"with the keeper stopped": func(t *testing.T) {
			keepers, _ := children(t)
			if err := syscall.Kill(keepers[0], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
		"with the opener stopped": func(t *testing.T) {
			_, openers := children(t)
			if err := syscall.Kill(openers[0], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev := newDevice(t)
			dev.init("")
			dev.lock()
			first := dev.unlocking()
			until(t, "keeper and opener", func() bool { k, o := children(t); return len(k) == 1 && len(o) == 1 })
			second := dev.unlocking()
			until(t, "the second one to wait", func() bool { return goroutinesIn("turn.(*Turn).wait") == 1 })
			between(t)
			dev.lock()
			wantChildren(t, 0, 0)
			for c, want := range map[<-chan error]string{
				first: "locked meanwhile, which interrupted", second: "locked before this command had its turn",
			} {
				err := received(t, "an unlock after the lock", c)
				if err == nil {
					t.Fatal("unlocked behind a lock")
				}
				if e := control.AsError(err); e.Code != control.CodeLocked || !strings.Contains(e.Message, want) || !strings.Contains(e.Next, "vigilctl unlock") {
					t.Errorf("it says %q, next %q; want %q", e.Message, e.Next, want)
				}
			}
			if s := dev.status(); s.State != control.VaultLocked {
				t.Fatalf("the vault is %s", s.State)
			}
			dev.unlock()
		})
	}
}

func TestLockEndsTheKeeper(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	if err := dev.agent().Add(agent.AddedKey{PrivateKey: newPrivate(t)}); err != nil {
		t.Fatal(err)
	}
	wantChildren(t, 2, 0)
	if r := dev.lock(); r.RemovedKeys != 1 || len(r.Locked) != 1 {
		t.Fatalf("locked %+v", r)
	}
	wantChildren(t, 0, 0)
}

// TestAKilledKeeperLocksItsVault and affects nothing else in the daemon.
func TestAKilledKeeperLocksItsVault(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	if err := dev.agent().Add(agent.AddedKey{PrivateKey: newPrivate(t), Comment: "added"}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(dev.status().Keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the vault to be locked", func() bool { return dev.status().State == control.VaultLocked })
	keys := dev.listed()
	if len(keys) != 2 {
		t.Fatalf("%d keys are listed, want the added one and the vault's", len(keys))
	}
	if err := sign(dev.agent(), keys[0]); err != nil {
		t.Fatalf("the added key: %v", err)
	}
	if err := sign(dev.agent(), keys[1]); err == nil {
		t.Fatal("a key signed whose keeper is gone")
	}
	if !slices.ContainsFunc(dev.why(), func(r string) bool { return strings.Contains(r, "ended") }) {
		t.Fatalf("why says %q", dev.why())
	}
	dev.unlock()
	if err := sign(dev.agent(), dev.listed()[1]); err != nil {
		t.Fatal(err)
	}
}

// TestAKeeperKilledDuringEverything: every request gets an answer, and the vault can
// be unlocked again.
func TestAKeeperKilledDuringEverything(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	for range 3 {
		answers := make(chan struct{})
		go func() {
			defer close(answers)
			for {
				if _, err := send(dev, &control.GenerateRequest{Name: "x", Type: "ed25519"}); err == nil {
					_, _ = send(dev, &control.RemoveRequest{Key: "x", Passphrase: text(t, passphrase)})
				}
				r, err := send(dev, &control.StatusRequest{})
				if err != nil || r.Vaults[0].State == control.VaultLocked {
					return
				}
			}
		}()
		_ = syscall.Kill(dev.status().Keeper, syscall.SIGKILL)
		within(t, "an answer", answers)
		dev.unlock()
		_, _ = send(dev, &control.RemoveRequest{Key: "x", Passphrase: text(t, passphrase)}) // it may exist or not
		if names := dev.names(); !slices.Contains(names, "work") {
			t.Fatalf("left: %v", names)
		}
	}
}

// TestAStoppedKeeperDoesNotHoldUpTheEnd: neither lock nor the daemon's end waits for
// a keeper that doesn't respond.
func TestAStoppedKeeperDoesNotHoldUpTheEnd(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	stopIt := func() <-chan error {
		t.Helper()
		keys, keeper := dev.listed(), dev.status().Keeper
		if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		until(t, "the keeper has stopped", func() bool { return stopped(keeper) })
		signed := make(chan error, 1)
		a := dev.agent()
		go func() { signed <- sign(a, keys[0]) }()
		return signed
	}
	signed := stopIt()
	dev.lock()
	if received(t, "the signature", signed) == nil {
		t.Fatal("a stopped keeper signed")
	}
	dev.unlock()
	signed = stopIt()
	dev.end()
	if received(t, "the signature", signed) == nil {
		t.Fatal("a stopped keeper signed")
	}
	wantChildren(t, 0, 0)
}

// stopped reports whether every thread of a process has stopped: a signal reaches
// them one after another. Where the system doesn't say, it returns true.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		_, state, ok := strings.Cut(string(text), ") ")
		if err == nil && ok && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// TestManyLocksAndUnlocks: concurrent ones leave the vault in one of the two states,
// and the agent's list agrees with it.
func TestManyLocksAndUnlocks(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 6 {
			_ = dev.unlockWith(passphrase)
		}
	}()
	for locking := true; locking; {
		select {
		case <-done:
			locking = false
		default:
			if _, err := send(dev, &control.LockRequest{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	keys := dev.listed()
	if len(keys) != 1 {
		t.Fatalf("%d keys are listed", len(keys))
	}
	unlocked := dev.status().State == control.VaultUnlocked
	if err := sign(dev.agent(), keys[0]); (err == nil) != unlocked {
		t.Fatalf("unlocked: %v, signing: %v", unlocked, err)
	}
	dev.lock()
	wantChildren(t, 0, 0)
	dev.unlock()
	if err := sign(dev.agent(), keys[0]); err != nil {
		t.Fatal(err)
	}
}

// TestNothingLeaks: no descriptors or processes, over many rounds of all operations.
func TestNothingLeaks(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	round := func() {
		t.Helper()
		dev.generate("x")
		_, err := send(dev, &control.AddRequest{KeyFile: text(t, "no key")})
		if err == nil {
			t.Fatal("imported")
		}
		must(dev, &control.RemoveRequest{Key: "x", Passphrase: text(t, passphrase)})
		dev.lock()
		wantCode(t, dev.unlockWith("\n"), control.CodeUsage)
		dev.unlock()
	}
	round()
	before := openFiles(t)
	for range 3 {
		round()
	}
	until(t, "as many descriptors as before", func() bool { return openFiles(t) <= before })
	wantChildren(t, 1, 0)
}

// TestKeepersDoNotInherit the descriptors that the daemon inherited.
func TestKeepersDoNotInherit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a keeper is undumpable: only root sees its descriptors")
	}
	path := filepath.Join(t.TempDir(), "a shell's file")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	inherited, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD, 100) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	dev := newDevice(t)
	dev.init("")
	keepers, _ := children(t)
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", keepers[0]))
	if err != nil || len(links) == 0 {
		t.Fatalf("%d descriptors, %v", len(links), err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path {
			t.Fatalf("the keeper has %s", to)
		}
	}
}

// openFiles counts this process's descriptors without the tests' own pipes.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}
