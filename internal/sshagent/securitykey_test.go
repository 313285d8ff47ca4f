package sshagent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/policy"
	"vigil/internal/wire"
)

// device stands in for security keys and the person who touches them.
type device struct {
	asked chan string   // what is shown
	touch chan struct{} // lets one signature be made
	pin   bool          // whether it asks for one
}

func newDevice() *device {
	return &device{asked: make(chan string, maxAllWaiting), touch: make(chan struct{})}
}

func (d *device) Provider(string, bool) (string, error) { return "internal", nil }

func (d *device) Run(ctx context.Context, text string, use func(*os.File) error) error {
	if d.pin {
		return ErrPIN
	}
	return d.RunWithPIN(ctx, text, func(helper, _ *os.File) error { return use(helper) })
}

func (d *device) RunWithPIN(ctx context.Context, question string, use func(helper, pin *os.File) error) error {
	d.asked <- question
	select {
	case <-d.touch:
	case <-ctx.Done(): // a touch at this very moment
	}
	return use(nil, nil)
}

func (d *device) Next(error) string { return "" }

// tokenSigner signs through a device.
type tokenSigner struct{ *testKeeper }

func (tokenSigner) SignThrough(_ context.Context, _ uint64, _ []byte, _ string, _, _ *os.File, dst []byte) ([]byte, error) {
	return append(dst, ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: make([]byte, 64), Rest: make([]byte, 5)})...), nil
}

// tokenKey is a vault's key in a security key.
func (w *world) tokenKey(comment string) VaultKey {
	blob := wire.AppendString(wire.AppendString(nil, ssh.KeyAlgoSKED25519), newKey(w.t).Public().(ed25519.PublicKey))
	return VaultKey{ID: 99, Signer: tokenSigner{w.keeper}, Blob: wire.AppendString(blob, "ssh:"), Comment: comment, Approve: policy.ApproveNever}
}

// requestTouches has n clients ask for a signature at once, and returns what they get.
func (w *world) requestTouches(k VaultKey, n int) <-chan error {
	key, err := ssh.ParsePublicKey(k.Blob)
	must(w.t, err)
	got := make(chan error, n)
	for range n {
		c := w.client()
		go func() {
			_, err := c.Sign(key, []byte("data"))
			got <- err
		}()
	}
	synctest.Wait()
	return got
}

// TestATouchDelaysNoOtherKey: one touch is waited for at a time, by no more than can expect
// one, and signatures with other keys of the vault are made meanwhile.
func TestATouchDelaysNoOtherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		w := newWorld(t, func(o *Options) { o.SecurityKeys = d })
		token, plain := w.tokenKey("token"), newKey(t)
		w.SetVault("main", []VaultKey{token, w.vaultKey("plain", plain)})
		got := w.requestTouches(token, 1+maxWaiting+1)
		w.refused(<-got, errQueue.Error())
		_, err := w.client().Sign(signerOf(t, plain).PublicKey(), []byte("data"))
		must(t, err)
		for range 1 + maxWaiting {
			synctest.Wait()
			if len(d.asked) != 1 || len(got) != 0 {
				t.Fatalf("%d touches are asked for at once, %d requests are answered without", len(d.asked), len(got))
			}
			<-d.asked
			d.touch <- struct{}{}
			must(t, <-got)
		}
	})
}

// TestAWaitForATouchEnds with the use of the key, for the one that is shown and for those
// behind it. A touch that comes at the same moment signs nothing.
func TestAWaitForATouchEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(w *world, token VaultKey, c agent.Agent)
		reason string
	}{
		"ssh-add -x": {func(w *world, _ VaultKey, c agent.Agent) { must(w.t, c.Lock([]byte("x"))) }, errLocked.Error()},
		"the vault is locked": {func(w *world, token VaultKey, _ agent.Agent) {
			token.Signer = nil
			w.SetVault("main", []VaultKey{token})
		}, "vault main was locked while someone was asked"},
		"the key is removed": {func(w *world, _ VaultKey, _ agent.Agent) { w.SetVault("main", nil) }, errChanged.Error()},
		"the key asks first": {func(w *world, token VaultKey, _ agent.Agent) {
			token.Confirm = true
			w.SetVault("main", []VaultKey{token})
		}, errChanged.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *Options) { o.SecurityKeys = newDevice() })
				token := w.tokenKey("token")
				w.SetVault("main", []VaultKey{token})
				got := w.requestTouches(token, 3)
				tt.end(w, token, w.client())
				for range 3 {
					w.refused(<-got, tt.reason)
				}
			})
		})
	}
}

// TestAPINIsAskedFor where the device wants one, as one question of several.
func TestAPINIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.pin = true
		asking, answer := make(chan Question, 1), make(chan struct{})
		w := newWorld(t, func(o *Options) {
			o.SecurityKeys = d
			o.Prompter = prompterFunc(func(_ context.Context, q Question) error { asking <- q; <-answer; return nil })
		})
		token, plain := w.tokenKey("token"), newKey(t)
		asks := w.vaultKey("plain", plain)
		asks.Confirm = true
		w.SetVault("main", []VaultKey{token, asks})
		confirmed := make(chan error, 1)
		c := w.client()
		go func() {
			_, err := c.Sign(signerOf(t, plain).PublicKey(), []byte("data"))
			confirmed <- err
		}()
		<-asking
		got := w.requestTouches(token, 1)
		if len(d.asked) != 0 {
			t.Error("two questions are shown at once")
		}
		close(answer)
		must(t, <-confirmed)
		if q := <-d.asked; !strings.HasPrefix(q, "Enter the PIN of, and touch, the security key of token.\n") {
			t.Errorf("asked %q", q)
		}
		d.touch <- struct{}{}
		must(t, <-got)
	})
}

// TestAClientThatLeavesEndsItsWait: the next one's begins.
func TestAClientThatLeavesEndsItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		w := newWorld(t, func(o *Options) { o.SecurityKeys = d })
		token := w.tokenKey("token")
		w.SetVault("main", []VaultKey{token})
		conn, served := w.dial()
		key, err := ssh.ParsePublicKey(token.Blob)
		must(t, err)
		go func() {
			if _, err := agent.NewClient(conn).Sign(key, []byte("data")); err == nil {
				t.Error("signed for nobody")
			}
		}()
		synctest.Wait()
		next := w.requestTouches(token, 1)
		conn.Close()
		<-served
		w.refused(errors.New("gone"), errLeft.Error())
		d.touch <- struct{}{}
		must(t, <-next)
	})
}
