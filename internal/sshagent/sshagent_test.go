package sshagent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
)

// world is an agent with what surrounds it.
type world struct {
	*Agent
	t        testing.TB
	keeper   *testKeeper
	refusals *refusals
	ctx      context.Context
	serving  sync.WaitGroup
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	slab, err := guard.NewSlab(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w := &world{t: t, keeper: newTestKeeper(), refusals: &refusals{}}
	o := Options{
		Keeper: w.keeper, Bodies: slab, Refusals: w.refusals,
		BootTime: func() time.Duration { return time.Hour + time.Since(start) },
	}
	if change != nil {
		change(&o)
	}
	w.Agent = New(o)
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		w.serving.Wait()
		w.Close()
		if used := slab.Usage().Used; used != 0 {
			t.Errorf("%d bytes of guarded memory are still in use", used)
		}
		slab.Close()
	})
	return w
}

// dial returns the client's end of a connection, and what Serve returns.
func (w *world) dial() (net.Conn, <-chan error) {
	client, server := net.Pipe()
	w.t.Cleanup(func() { client.Close() })
	return client, w.serve(server)
}

func (w *world) serve(conn net.Conn) <-chan error {
	result := make(chan error, 1)
	w.serving.Go(func() { result <- w.Serve(w.ctx, conn, Peer{PID: 1, UID: 2, Program: "/usr/bin/ssh"}) })
	return result
}

func (w *world) client() agent.ExtendedAgent {
	conn, _ := w.dial()
	return agent.NewClient(conn)
}

// comments lists what a client sees.
func (w *world) comments(c agent.Agent) string {
	w.t.Helper()
	keys, err := c.List()
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Comment)
	}
	return strings.Join(names, " ")
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signerOf(t testing.TB, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused asserts that err is a refusal and that why would say so.
func (w *world) refused(err error, reason string) {
	w.t.Helper()
	if err == nil {
		w.t.Fatalf("allowed; want a refusal with %q", reason)
	}
	if got := w.refusals.last(); !strings.Contains(got, reason) {
		w.t.Fatalf("refused with %q, want %q", got, reason)
	}
}

func TestAddListSignRemove(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	edKey := newKey(t)
	w := newWorld(t, nil)
	c := w.client()
	for _, k := range []agent.AddedKey{
		{PrivateKey: &edKey, Comment: "ed"}, {PrivateKey: ecKey, Comment: "ec"}, {PrivateKey: rsaKey, Comment: "rsa"},
	} {
		must(t, c.Add(k))
	}
	if got := w.comments(c); got != "ed ec rsa" {
		t.Fatalf("listed %q", got)
	}
	keys, err := c.List()
	must(t, err)
	for i, flags := range []agent.SignatureFlags{0, 0, agent.SignatureFlagRsaSha512} {
		sig, err := c.SignWithFlags(keys[i], []byte("data"), flags)
		must(t, err)
		must(t, keys[i].Verify([]byte("data"), sig))
	}
	_, err = c.SignWithFlags(keys[2], []byte("data"), 0)
	w.refused(err, "SHA-1")
	_, err = c.SignWithFlags(keys[0], []byte("data"), 8)
	w.refused(err, "flags")

	must(t, c.Remove(keys[1]))
	w.refused(c.Remove(keys[1]), "does not have the key")
	_, err = c.Sign(keys[1], []byte("data"))
	w.refused(err, "does not have the key")
	if got := w.comments(c); got != "ed rsa" || w.keeper.held() != 2 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
	must(t, c.RemoveAll())
	if got := w.comments(c); got != "" || w.keeper.held() != 0 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
}

func TestAddingAgainReplacesInPlace(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	one, two := newKey(t), newKey(t)
	must(t, c.Add(agent.AddedKey{PrivateKey: &one, Comment: "one"}))
	must(t, c.Add(agent.AddedKey{PrivateKey: &two, Comment: "two"}))
	must(t, c.Add(agent.AddedKey{PrivateKey: &one, Comment: "uno", ConfirmBeforeUse: true}))
	if got := w.comments(c); got != "uno two" || w.keeper.held() != 2 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
	_, err := c.Sign(signerOf(t, one).PublicKey(), []byte("data"))
	w.refused(err, "no way to ask")
	must(t, c.Add(agent.AddedKey{PrivateKey: &one, Comment: "eins"}))
	_, err = c.Sign(signerOf(t, one).PublicKey(), []byte("data"))
	must(t, err)
}

func TestSecretsLeaveGuardedMemoryWiped(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	must(t, w.client().Add(agent.AddedKey{PrivateKey: &key}))
	if len(w.keeper.bodies) != 1 || w.keeper.bodies[0].Bytes() != nil {
		t.Fatal("the body of the message is still there")
	}
}

func (w *world) vaultKey(comment string, key any) VaultKey {
	s := signerOf(w.t, key)
	return VaultKey{ID: w.keeper.addSigner(s), Signer: w.keeper, Blob: s.PublicKey().Marshal(), Comment: comment}
}

func TestVaultKeys(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Vaults = []string{"main", "work"} })
	c := w.client()
	shared, added := newKey(t), newKey(t)
	w.SetVault("work", []VaultKey{w.vaultKey("w1", newKey(t))})
	w.SetVault("main", []VaultKey{w.vaultKey("m1", newKey(t)), w.vaultKey("m2", shared)})
	must(t, c.Add(agent.AddedKey{PrivateKey: &added, Comment: "added"}))
	if got := w.comments(c); got != "added m1 m2 w1" {
		t.Fatalf("listed %q", got)
	}
	public := signerOf(t, shared).PublicKey()
	_, err := c.Sign(public, []byte("data"))
	must(t, err)

	w.refused(c.Remove(public), "vault main")
	must(t, c.Add(agent.AddedKey{PrivateKey: &shared, Comment: "copy"}))
	if got := w.comments(c); got != "added copy m1 w1" {
		t.Fatalf("an added copy shadows: %q", got)
	}
	must(t, c.Remove(public))
	must(t, c.RemoveAll())
	if got := w.comments(c); got != "m1 m2 w1" {
		t.Fatalf("ssh-add -D touches no vault: %q", got)
	}
	w.RemoveVault("main")
	if got := w.comments(c); got != "w1" {
		t.Fatalf("listed %q", got)
	}
}

func TestLockedVaultListsAndRefuses(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	k := w.vaultKey("m1", newKey(t))
	k.Signer = nil
	damaged := w.vaultKey("m2", newKey(t))
	damaged.Signer, damaged.Refusal = nil, "item m2 is damaged"
	w.SetVault("main", []VaultKey{k, damaged})
	keys, err := c.List()
	must(t, err)
	_, err = c.Sign(keys[0], []byte("data"))
	w.refused(err, "vault main is locked: run vigilctl unlock")
	_, err = c.Sign(keys[1], []byte("data"))
	w.refused(err, "item m2 is damaged")
}

// unlockerFunc and prompterFunc are one-method interfaces.
type unlockerFunc func(context.Context, string, Question) error

func (f unlockerFunc) Unlock(ctx context.Context, vault string, q Question) error {
	return f(ctx, vault, q)
}

type prompterFunc func(context.Context, Question) error

func (f prompterFunc) Confirm(ctx context.Context, q Question) error { return f(ctx, q) }

func TestLockedVaultUnlocksOnUse(t *testing.T) {
	var w *world
	key := newKey(t)
	answer := fmt.Errorf("nobody answered")
	w = newWorld(t, func(o *Options) {
		o.Unlocker = unlockerFunc(func(_ context.Context, vault string, q Question) error {
			if vault != "main" || q.Comment != "m1" || q.Peer.Program != "/usr/bin/ssh" {
				t.Errorf("asked to unlock %s for %+v", vault, q)
			}
			if answer == nil {
				w.SetVault("main", []VaultKey{w.vaultKey("m1", key)})
			}
			return answer
		})
	})
	c := w.client()
	locked := w.vaultKey("m1", key)
	locked.Signer = nil
	w.SetVault("main", []VaultKey{locked})
	public := signerOf(t, key).PublicKey()
	_, err := c.Sign(public, []byte("data"))
	w.refused(err, "nobody answered")
	answer = nil
	sig, err := c.Sign(public, []byte("data"))
	must(t, err)
	must(t, public.Verify([]byte("data"), sig))
}

// What limits a key may only be known once its vault is open.
func TestLimitsFoundByUnlockingHold(t *testing.T) {
	var w *world
	key, h := newKey(t), newHost(t)
	w = newWorld(t, func(o *Options) {
		o.Unlocker = unlockerFunc(func(context.Context, string, Question) error {
			k := w.vaultKey("m1", key)
			k.To = []agentproto.Destination{direct(h)}
			w.SetVault("main", []VaultKey{k})
			return nil
		})
	})
	locked := w.vaultKey("m1", key)
	locked.Signer = nil
	w.SetVault("main", []VaultKey{locked})
	_, err := w.client().Sign(signerOf(t, key).PublicKey(), []byte("data"))
	w.refused(err, "didn't say which session")
}

func TestVaultCertificateIsASecondIdentity(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	key := newKey(t)
	k := w.vaultKey("m1", key)
	cert := certify(t, signerOf(t, key).PublicKey(), func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity })
	k.Certificate = cert.Marshal()
	w.SetVault("main", []VaultKey{k})
	keys, err := c.List()
	must(t, err)
	if len(keys) != 2 || keys[0].Type() != ssh.KeyAlgoED25519 || keys[1].Type() != ssh.CertAlgoED25519v01 {
		t.Fatalf("listed %v", keys)
	}
	sig, err := c.Sign(keys[1], []byte("data"))
	must(t, err)
	must(t, cert.Verify([]byte("data"), sig))
	if infos := w.Keys(); infos[0].Fingerprint != infos[1].Fingerprint || infos[0].Fingerprint != ssh.FingerprintSHA256(cert.Key) {
		t.Fatalf("fingerprints %s and %s", infos[0].Fingerprint, infos[1].Fingerprint)
	}
}

func certify(t testing.TB, key ssh.PublicKey, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidPrincipals: []string{"me"}}
	change(cert)
	must(t, cert.SignCert(rand.Reader, signerOf(t, newKey(t))))
	return cert
}

func TestOddKeysDontBreakAListing(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	odd := VaultKey{Blob: []byte("\x00\x00\x00\x0assh-future"), Comment: "odd"}
	w.SetVault("main", []VaultKey{odd, {Blob: nil, Comment: "none"}, w.vaultKey("m1", newKey(t))})
	if got := w.comments(c); got != "odd m1" {
		t.Fatalf("listed %q", got)
	}
}

func TestListingOfAThousandKeysIsMadeOnce(t *testing.T) {
	w := newWorld(t, nil)
	var keys []VaultKey
	for i := range 3000 {
		keys = append(keys, VaultKey{Blob: fmt.Appendf([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), "%032d", i)})
	}
	w.SetVault("main", keys)
	if got, err := w.client().List(); err != nil || len(got) != agentproto.MaxIdentities {
		t.Fatalf("listed %d keys, %v", len(got), err)
	}
	s := &session{agent: w.Agent}
	if n := testing.AllocsPerRun(10, func() { s.list(nil, nil) }); n != 0 {
		t.Fatalf("%v allocations a listing", n)
	}
}

func TestRemoveAllOfSSH1IsTolerated(t *testing.T) {
	w := newWorld(t, nil)
	conn, _ := w.dial()
	if got := exchange(t, conn, []byte{0, 0, 0, 1, 9}); !bytes.Equal(got, []byte{agentproto.MsgSuccess}) {
		t.Fatalf("got %x", got)
	}
}

// exchange writes a frame and returns the reply's message.
func exchange(t testing.TB, conn net.Conn, frame []byte) []byte {
	t.Helper()
	_, err := conn.Write(frame)
	must(t, err)
	return readReply(t, conn)
}

func readReply(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	var length [4]byte
	_, err := io.ReadFull(conn, length[:])
	must(t, err)
	reply := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err = io.ReadFull(conn, reply)
	must(t, err)
	return reply
}

func TestQuery(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	got, err := c.Extension(agentproto.ExtQuery, nil)
	must(t, err)
	if want := agentproto.AppendQueryReply(nil, agentproto.ExtSessionBind)[4:]; !bytes.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	if _, err := c.Extension("nothing@example.org", nil); err != agent.ErrExtensionUnsupported {
		t.Fatalf("got %v", err)
	}
}

func TestManyClientsManySignatures(t *testing.T) {
	w := newWorld(t, nil)
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent.sock"))
	must(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			w.serve(conn)
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("unix", listener.Addr().String())
		must(t, err)
		return conn
	}
	var keys []ssh.PublicKey
	setup := agent.NewClient(dial())
	for range 5 {
		key := newKey(t)
		must(t, setup.Add(agent.AddedKey{PrivateKey: &key}))
		keys = append(keys, signerOf(t, key).PublicKey())
	}
	// These stop in the middle of a message, and cost the others nothing.
	for _, half := range []string{"\x00", "\x00\x00\x01\x00\x0d", "\x00\x00\x01\x00\x11half a key", "\x11\xe1\xa3\x00\x0d"} {
		conn := dial()
		defer conn.Close()
		_, err := conn.Write([]byte(half))
		must(t, err)
	}
	var clients sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 100 {
		clients.Go(func() {
			conn, err := net.Dial("unix", listener.Addr().String())
			if err != nil {
				errs <- err
				return
			}
			defer conn.Close()
			c := agent.NewClient(conn)
			for j := range 100 {
				key, data := keys[(i+j)%len(keys)], fmt.Appendf(nil, "client %d signature %d", i, j)
				sig, err := c.Sign(key, data)
				if err == nil {
					err = key.Verify(data, sig)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	clients.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
}

func TestPipelinedRepliesComeInOrder(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	must(t, w.client().Add(agent.AddedKey{PrivateKey: &key, Comment: "k"}))
	sign := agentproto.AppendStatus(nil, agentproto.MsgSignRequest)
	sign = append(sign, ssh.Marshal(struct {
		Key, Data []byte
		Flags     uint32
	}{signerOf(t, key).PublicKey().Marshal(), []byte("data"), 0})...)
	binary.BigEndian.PutUint32(sign, uint32(len(sign)-4))
	var all []byte
	for range 50 {
		all = append(all, agentproto.AppendStatus(nil, agentproto.MsgRequestIdentities)...)
		all = append(all, sign...)
		all = append(all, agentproto.AppendStatus(nil, 99)...)
	}
	conn, _ := w.dial()
	go func() { _, _ = conn.Write(all) }()
	for i := range 150 {
		want := []byte{agentproto.MsgIdentitiesAnswer, agentproto.MsgSignResponse, agentproto.MsgFailure}[i%3]
		if got := readReply(t, conn); got[0] != want {
			t.Fatalf("reply %d is a %d, want %d", i, got[0], want)
		}
	}
}

// A panic in one connection ends that connection.
func TestPanicEndsOneConnection(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	public := signerOf(t, key).PublicKey()
	conn, served := w.dial()
	c := agent.NewClient(conn)
	must(t, c.Add(agent.AddedKey{PrivateKey: &key}))
	w.keeper.signing = func() { panic("secret value") }
	if _, err := c.Sign(public, []byte("data")); err == nil {
		t.Fatal("signed")
	}
	if err := <-served; err != ErrPanic {
		t.Fatalf("served: %v", err)
	}
	w.keeper.signing = nil
	_, err := w.client().Sign(public, []byte("data"))
	must(t, err)
}

func TestKeysAreForgottenWithTheirKeeper(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	key := newKey(t)
	must(t, c.Add(agent.AddedKey{PrivateKey: &key, Comment: "k"}))
	must(t, w.DropAdded(w.ctx))
	if got := w.comments(c); got != "" || w.keeper.held() != 0 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
	must(t, c.Add(agent.AddedKey{PrivateKey: &key, Comment: "k"}))
	w.ForgetAdded()
	if got := w.comments(c); got != "" || w.keeper.held() != 1 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
}

// A key that is added again while it signs is found under its new handle.
func TestSigningSurvivesReplacement(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	must(t, w.client().Add(agent.AddedKey{PrivateKey: &key}))
	var once sync.Once
	w.keeper.signing = func() {
		once.Do(func() { must(t, w.client().Add(agent.AddedKey{PrivateKey: &key})) })
	}
	_, err := w.client().Sign(signerOf(t, key).PublicKey(), []byte("data"))
	must(t, err)
}

func TestQuestionIsCleaned(t *testing.T) {
	q := Question{Comment: "me", Fingerprint: "SHA256:x", Purpose: "login as root", Peer: Peer{PID: 7, Program: "/bin/\x1b[2Jssh"}}
	got := q.String()
	if strings.Contains(got, "\x1b") || !slices.Contains(strings.Split(got, "\n"), "Key fingerprint SHA256:x.") {
		t.Fatalf("got %q", got)
	}
}
