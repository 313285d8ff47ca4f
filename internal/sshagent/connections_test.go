package sshagent

import (
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/unixsock"
)

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
			stream, err := unixsock.NewStream(conn.(*net.UnixConn))
			if err != nil {
				return
			}
			w.serve(stream)
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
	// These stop in the middle of a message, and don't affect the others.
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
