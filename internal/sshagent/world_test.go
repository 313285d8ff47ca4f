package sshagent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/guard"
	"vigil/internal/policy"
)

// world is an agent with its environment.
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
	client, server := netPipe(w.t)
	return client, w.serve(server)
}

func (w *world) serve(conn Conn) <-chan error {
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

func (w *world) vaultKey(comment string, key any) VaultKey {
	s := signerOf(w.t, key)
	return VaultKey{ID: w.keeper.addSigner(s), Signer: w.keeper, Blob: s.PublicKey().Marshal(), Comment: comment, Approve: policy.ApproveNever}
}

func certify(t testing.TB, key ssh.PublicKey, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidPrincipals: []string{"me"}}
	change(cert)
	must(t, cert.SignCert(rand.Reader, signerOf(t, newKey(t))))
	return cert
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

// prompterFunc is a [Prompter].
type prompterFunc func(context.Context, Question) error

func (f prompterFunc) Confirm(ctx context.Context, q Question) (bool, error) {
	err := f(ctx, q)
	return q.Longer > 0 && err == nil, err
}
