package daemon

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/control"
)

func newPrivate(t *testing.T) *ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &private
}

// TestWithoutAVaultItIsASSHAgent.
func TestWithoutAVaultItIsASSHAgent(t *testing.T) {
	dev := newDevice(t)
	a := dev.agent()
	wantChildren(t, 0, 0) // there is a keeper only while it has something to hold
	for _, comment := range []string{"one", "two"} {
		if err := a.Add(agent.AddedKey{PrivateKey: newPrivate(t), Comment: comment}); err != nil {
			t.Fatal(err)
		}
	}
	wantChildren(t, 1, 0)
	keys := dev.listed()
	if len(keys) != 2 || keys[0].Comment != "one" || sign(a, keys[0]) != nil || sign(a, keys[1]) != nil {
		t.Fatalf("listed %v", keys)
	}
	if r := must(dev, &control.StatusRequest{}); r.AddedKeys != 2 {
		t.Fatalf("status says %d added keys", r.AddedKeys)
	}
	if err := a.Remove(keys[0]); err != nil {
		t.Fatal(err)
	}
	if err := sign(a, keys[0]); err == nil {
		t.Fatal("a removed key signed")
	}
	if err := a.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	wantChildren(t, 0, 0)
	if len(dev.listed()) != 0 {
		t.Fatal("keys are left")
	}
}

func TestTheKeeperOfAddedKeysMayDie(t *testing.T) {
	dev := newDevice(t)
	a := dev.agent()
	add := func() {
		t.Helper()
		if err := a.Add(agent.AddedKey{PrivateKey: newPrivate(t)}); err != nil {
			t.Fatal(err)
		}
	}
	kill := func() {
		t.Helper()
		keepers, _ := children(t)
		if err := syscall.Kill(keepers[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "its keys to be gone", func() bool { return len(dev.listed()) == 0 })
	}
	add()
	kill()
	add()
	if keys := dev.listed(); len(keys) != 1 || sign(a, keys[0]) != nil {
		t.Fatalf("afterwards %v", keys)
	}
	// ssh-add -x's passphrase is lost with the keeper. The agent stays locked:
	// otherwise whoever can kill a process could unlock it.
	if err := a.Lock([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	keepers, _ := children(t)
	if err := syscall.Kill(keepers[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the keeper to be gone", func() bool { k, _ := children(t); return len(k) == 0 })
	for _, pass := range []string{"secret", "other", ""} {
		if err := a.Unlock([]byte(pass)); err == nil {
			t.Fatalf("unlocked with %q", pass)
		}
	}
	if !slices.ContainsFunc(dev.why(), func(r string) bool { return strings.Contains(r, "restart") }) {
		t.Fatalf("why doesn't say what to do: %q", dev.why())
	}
}

// TestLockedBySSHAddHidesVaultsToo.
func TestLockedBySSHAddHidesVaultsToo(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	a := dev.agent()
	keys := dev.listed()
	if err := a.Lock([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	if len(dev.listed()) != 0 || sign(a, keys[0]) == nil {
		t.Fatal("a vault's key is there")
	}
	// vigilctl lock removes the added keys; only ssh-add -X undoes ssh-add -x.
	dev.lock()
	dev.unlock()
	if len(dev.listed()) != 0 {
		t.Fatal("vigilctl undid ssh-add -x")
	}
	if err := a.Unlock([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := sign(a, dev.listed()[0]); err != nil {
		t.Fatal(err)
	}
}

// TestTheKeeperOfAddedKeysEndsWithTheLastOne, and never while a key comes in.
func TestTheKeeperOfAddedKeysEndsWithTheLastOne(t *testing.T) {
	dev := deviceOf(t)
	dev.lingers = time.Nanosecond
	dev.start()
	var clients sync.WaitGroup
	for range 4 {
		a := dev.agent()
		clients.Go(func() {
			for range 10 {
				if err := comeAndGo(t, a); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	waitForChildren(t, 0)
	a := dev.agent()
	if err := errors.Join(a.Lock([]byte("word")), a.Unlock([]byte("word"))); err != nil {
		t.Fatal(err)
	}
	waitForChildren(t, 0) // with the passphrase, the last thing is gone
}

// TestKeysThatComeAndGoShareAKeeper: who adds and removes keys, or sends what is none,
// can't have a process started each time.
func TestKeysThatComeAndGoShareAKeeper(t *testing.T) {
	dev := deviceOf(t)
	dev.lingers = time.Hour
	dev.start()
	a := dev.agent()
	if err := comeAndGo(t, a); err != nil {
		t.Fatal(err)
	}
	first, _ := children(t)
	for range 3 {
		if err := comeAndGo(t, a); err != nil {
			t.Fatal(err)
		}
		private := newPrivate(t)
		(*private)[0]++ // no longer the seed of its public half
		if a.Add(agent.AddedKey{PrivateKey: private}) == nil {
			t.Fatal("a key that is none was added")
		}
	}
	if again, _ := children(t); len(first) != 1 || !slices.Equal(first, again) {
		t.Fatalf("keepers %v became %v, want one that stays", first, again)
	}
	if err := a.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	wantChildren(t, 0, 0) // at once
}

// comeAndGo adds a key to a, signs with it, and removes it.
func comeAndGo(t *testing.T, a agent.Agent) error {
	private := newPrivate(t)
	public, err := ssh.NewPublicKey(private.Public())
	err = errors.Join(err, a.Add(agent.AddedKey{PrivateKey: private}))
	if err == nil {
		_, err = a.Sign(public, []byte("data"))
	}
	return errors.Join(err, a.Remove(public))
}

// waitForChildren waits until that many keepers run, and no opener.
func waitForChildren(t *testing.T, keepers int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; <-time.After(time.Millisecond) {
		if k, o := children(t); len(k) == keepers && len(o) == 0 {
			return
		}
	}
	wantChildren(t, keepers, 0)
}
