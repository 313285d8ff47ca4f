package sshagent

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
)

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.DefaultLifetime = time.Hour })
		c := w.client()
		short, long, usual, replaced := newKey(t), newKey(t), newKey(t), newKey(t)
		must(t, c.Add(agent.AddedKey{PrivateKey: &short, Comment: "short", LifetimeSecs: 60}))
		must(t, c.Add(agent.AddedKey{PrivateKey: &long, Comment: "long", LifetimeSecs: 100_000}))
		must(t, c.Add(agent.AddedKey{PrivateKey: &usual, Comment: "usual"}))
		must(t, c.Add(agent.AddedKey{PrivateKey: &replaced, Comment: "replaced", LifetimeSecs: 60}))
		must(t, c.Add(agent.AddedKey{PrivateKey: &replaced, Comment: "replaced", LifetimeSecs: 120}))

		for _, step := range []struct {
			after time.Duration
			want  string
			held  int
		}{
			{59 * time.Second, "short long usual replaced", 4},
			{time.Second, "long usual replaced", 3},
			{60 * time.Second, "long usual", 2},
			{time.Hour - 2*time.Minute, "long", 1},
			{48 * time.Hour, "", 0},
		} {
			time.Sleep(step.after)
			synctest.Wait()
			// The timer alone makes the keeper forget the key, before any request.
			if held := w.keeper.held(); held != step.held {
				t.Fatalf("%v later the keeper has %d keys", step.after, held)
			}
			if got := w.comments(c); got != step.want {
				t.Fatalf("%v later: %q", step.after, got)
			}
		}
	})
}

func TestLifetimeOfZeroIsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		id, err := w.newAdded(Added{Blob: signerOf(t, newKey(t)).PublicKey().Marshal(), Constraints: agentproto.Constraints{HasLifetime: true}}, &policy.Path{})
		must(t, err)
		if !w.expired(id) {
			t.Fatal("not expired")
		}
	})
}

// While a machine sleeps, timers stop, but boot time goes on.
func TestKeysExpireInSleep(t *testing.T) {
	var slept time.Duration
	start := time.Now()
	w := newWorld(t, func(o *Options) {
		o.BootTime = func() time.Duration { return time.Hour + time.Since(start) + slept }
	})
	c := w.client()
	key := newKey(t)
	must(t, c.Add(agent.AddedKey{PrivateKey: &key, Comment: "k", LifetimeSecs: 600}))
	if left := w.Keys()[0].Left; left <= 0 || left > 600*time.Second {
		t.Fatalf("left %v", left)
	}
	slept = 601 * time.Second
	_, err := c.Sign(signerOf(t, key).PublicKey(), []byte("data"))
	w.refused(err, "does not have the key")
	if w.keeper.held() != 0 {
		t.Fatal("the keeper still has it")
	}
}

// What ssh-add adds stays as long as ssh-add says, as in ssh-agent.
func TestAddedCertificatesStayAfterTheirValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client()
		key := newKey(t)
		cert := certify(t, signerOf(t, key).PublicKey(), func(c *ssh.Certificate) {
			c.ValidBefore = uint64(time.Now().Add(time.Hour).Unix())
		})
		must(t, c.Add(agent.AddedKey{PrivateKey: &key, Certificate: cert, Comment: "certificate"}))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := w.comments(c); got != "certificate" {
			t.Fatalf("listed %q", got)
		}
		must(t, c.Add(agent.AddedKey{PrivateKey: &key, Certificate: cert, Comment: "again"}))
		sig, err := c.Sign(cert, []byte("data"))
		must(t, err)
		must(t, cert.Verify([]byte("data"), sig))
	})
}

func TestVaultCertificatesLeaveAfterTheirValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client()
		key := newKey(t)
		end := time.Now().Add(time.Hour)
		cert := certify(t, signerOf(t, key).PublicKey(), func(c *ssh.Certificate) { c.ValidBefore = uint64(end.Unix()) })
		k := w.vaultKey("vault", key)
		k.Certificate = cert.Marshal()
		w.SetVault("main", []VaultKey{k})

		time.Sleep(time.Hour + CertificateGrace - time.Second)
		synctest.Wait()
		if got := w.comments(c); got != "vault vault" {
			t.Fatalf("in the grace: %q", got)
		}
		_, err := c.Sign(cert, []byte("data"))
		must(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.comments(c); got != "vault" {
			t.Fatalf("after it: %q", got)
		}
		// A client may have the certificate in a file, and asks for it by that.
		_, err = c.Sign(cert, []byte("data"))
		w.refused(err, "the key's certificate expired at "+end.Format(time.DateTime))
		_, err = c.Sign(cert.Key, []byte("data"))
		must(t, err)
	})
}

func TestLockAndUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client()
		key := newKey(t)
		public := signerOf(t, key).PublicKey()
		must(t, c.Add(agent.AddedKey{PrivateKey: &key, Comment: "added"}))
		w.SetVault("main", []VaultKey{w.vaultKey("vault", newKey(t))})
		w.refused(c.Unlock([]byte("pass")), "not locked")
		w.refused(c.Lock(nil), "empty")
		must(t, c.Lock([]byte("pass")))
		if got := w.comments(c); got != "" || !w.Locked() {
			t.Fatalf("locked, and lists %q", got)
		}
		_, err := c.Sign(public, []byte("data"))
		w.refused(err, "ssh-add -x")
		w.refused(c.Lock([]byte("other")), "ssh-add -x")
		w.refused(c.Add(agent.AddedKey{PrivateKey: &key}), "ssh-add -x")
		w.refused(c.Remove(public), "ssh-add -x")
		w.refused(c.RemoveAll(), "ssh-add -x")
		if _, err = c.Extension(agentproto.ExtQuery, nil); err == nil {
			t.Fatal("locked, and answers a query")
		}
		if w.keeper.held() != 2 {
			t.Fatalf("the keeper has %d keys", w.keeper.held())
		}
		must(t, c.Unlock([]byte("pass")))
		if got := w.comments(c); got != "added vault" {
			t.Fatalf("unlocked, and lists %q", got)
		}
	})
}

func TestGuessingSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client()
		must(t, c.Lock([]byte("pass")))
		guess := func() time.Duration {
			start := time.Now()
			w.refused(c.Unlock([]byte("wrong")), "wrong passphrase")
			return time.Since(start)
		}
		for i := 1; i <= 105; i++ {
			if took, want := guess(), min(time.Duration(i)*UnlockDelay, MaxUnlockDelay); took != want {
				t.Fatalf("failure %d took %v, want %v", i, took, want)
			}
		}
		// Others are served in the meantime, and many guessers are no faster.
		start := time.Now()
		var guesses sync.WaitGroup
		for range 4 {
			guesses.Go(func() { _ = w.client().Unlock([]byte("wrong")) })
		}
		synctest.Wait()
		if w.comments(w.client()) != "" || time.Since(start) != 0 {
			t.Fatal("listing waited for a guess")
		}
		guesses.Wait()
		if took := time.Since(start); took != 4*MaxUnlockDelay {
			t.Fatalf("four guesses at once took %v", took)
		}
		must(t, c.Unlock([]byte("pass")))
		must(t, c.Lock([]byte("pass")))
		if took := guess(); took != UnlockDelay {
			t.Fatalf("after a success a failure took %v", took)
		}
	})
}

func TestConfirm(t *testing.T) {
	answer := errors.New("nobody answered")
	var asked Question
	w := newWorld(t, func(o *Options) {
		o.Prompter = prompterFunc(func(_ context.Context, q Question) error { asked = q; return answer })
	})
	c := w.client()
	key := newKey(t)
	public := signerOf(t, key).PublicKey()
	must(t, c.Add(agent.AddedKey{PrivateKey: &key, Comment: "k\x1b[2J", ConfirmBeforeUse: true}))
	sshsig := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{"git", "", "sha512", "h"})...)
	_, err := c.Sign(public, sshsig)
	w.refused(err, "nobody answered")
	want := Question{
		Comment: "k?[2J", Fingerprint: ssh.FingerprintSHA256(public), Purpose: "signature for git",
		Peer: Peer{PID: 1, UID: 2, Program: "/usr/bin/ssh"}, EachUse: true,
	}
	if asked != want {
		t.Fatalf("asked %+v", asked)
	}
	answer = nil
	_, err = c.Sign(public, []byte("data"))
	must(t, err)
}

func TestConfirmForAKeyThatGoesMeanwhile(t *testing.T) {
	var w *world
	key := newKey(t)
	w = newWorld(t, func(o *Options) {
		o.Prompter = prompterFunc(func(ctx context.Context, _ Question) error { return w.DropAdded(ctx) })
	})
	c := w.client()
	must(t, c.Add(agent.AddedKey{PrivateKey: &key, ConfirmBeforeUse: true}))
	_, err := c.Sign(signerOf(t, key).PublicKey(), []byte("data"))
	w.refused(err, "changed or removed")
}

// A question ends when its client hangs up, but not when the client sends its next
// request.
func TestConfirmEndsWithTheClient(t *testing.T) {
	asking, ended := make(chan struct{}), make(chan error)
	w := newWorld(t, func(o *Options) {
		o.Prompter = prompterFunc(func(ctx context.Context, _ Question) error {
			asking <- struct{}{}
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return ctx.Err()
			case <-asking:
				return nil
			}
		})
	})
	key := newKey(t)
	must(t, w.client().Add(agent.AddedKey{PrivateKey: &key, ConfirmBeforeUse: true}))
	request := signRequest(signerOf(t, key).PublicKey().Marshal(), []byte("data"), 0)

	conn, _ := w.dial()
	go func() { _, _ = conn.Write(request) }()
	<-asking
	conn.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	conn, _ = w.dial()
	go func() {
		_, _ = conn.Write(append(request, agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities)...))
	}()
	<-asking
	asking <- struct{}{}
	if got := readReply(t, conn); got[0] != agentproto.MsgSignResponse {
		t.Fatalf("got %x", got)
	}
	if got := readReply(t, conn); got[0] != agentproto.MsgIdentitiesAnswer {
		t.Fatalf("the request sent meanwhile: %x", got)
	}
}

func TestSlowSendersAreCutOff(t *testing.T) {
	for name, half := range map[string]string{
		"in the length":   "\x00\x00",
		"before a type":   "\x00\x00\x00\x01",
		"in a request":    "\x00\x00\x01\x00\x0dhalf",
		"in a secret":     "\x00\x00\x01\x00\x11half",
		"before a body":   "\x00\x00\x01\x00\x0d",
		"before a LOCK":   "\x00\x00\x00\x09\x16",
		"in an unknown":   "\x00\x00\x01\x00\xf0half",
		"after a listing": "\x00\x00\x00\x01\x0b\x00",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				conn, served := w.dial()
				start := time.Now()
				_, err := conn.Write([]byte(half[:len(half)-1]))
				must(t, err)
				if strings.HasPrefix(half, "\x00\x00\x00\x01\x0b") {
					readReply(t, conn)
				}
				_, err = conn.Write([]byte(half[len(half)-1:]))
				must(t, err)
				if err := <-served; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != MessageTimeout {
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
			})
		})
	}
}

func TestSlowReceiversAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn, served := w.dial()
		start := time.Now()
		_, err := conn.Write(agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities))
		must(t, err)
		if err := <-served; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != MessageTimeout {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestIdleConnectionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn, _ := w.dial()
		for range 3 {
			exchange(t, conn, agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities))
			time.Sleep(1000 * time.Hour)
			exchange(t, conn, agentproto.AppendStatus(nil, agentproto.MsgLock))
			time.Sleep(1000 * time.Hour)
			exchange(t, conn, []byte{0, 0, 0, 2, agentproto.MsgExtension, 0})
			time.Sleep(1000 * time.Hour)
		}
	})
}

func TestMessagesMayComeByteByByte(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	must(t, w.client().Add(agent.AddedKey{PrivateKey: &key}))
	conn, _ := w.dial()
	request := signRequest(signerOf(t, key).PublicKey().Marshal(), make([]byte, 5000), 0)
	go func() {
		for i := range request {
			_, _ = conn.Write(request[i : i+1])
		}
	}()
	if got := readReply(t, conn); got[0] != agentproto.MsgSignResponse {
		t.Fatalf("got %x", got)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	conn, server := netPipe(t)
	served := make(chan error, 1)
	go func() { served <- w.Serve(ctx, server, Peer{}) }()
	exchange(t, conn, agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities))
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the connection is open: %v", err)
	}
}

// A giant length allocates no memory, whatever the message, and ends the connection.
func TestGiantLengthsCostNothing(t *testing.T) {
	w := newWorld(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, header := range []string{
		"\x11\xe1\xa3\x00\x0d", "\x11\xe1\xa3\x00\x11", "\xff\xff\xff\xff\x0d", "\x00\x04\x00\x01\x0d", "\x00\x04\x00\x01\x19",
		"\x00\x00\x00\x00",
	} {
		conn, served := w.dial()
		_, err := conn.Write([]byte(header))
		must(t, err)
		if err := <-served; !errors.Is(err, ErrFrame) {
			t.Fatalf("%x: %v", header, err)
		}
	}
	// For the largest length, the agent waits, and allocates nothing in advance.
	for range 50 {
		conn, _ := w.dial()
		_, err := conn.Write([]byte("\x00\x04\x00\x00\x0dx"))
		must(t, err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
		t.Fatalf("allocated %d bytes", grown)
	}
}
