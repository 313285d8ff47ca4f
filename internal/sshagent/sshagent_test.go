package sshagent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

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

// TestALongCommentAddsNothing: one key's comment can't displace other keys from a
// listing.
func TestALongCommentAddsNothing(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		length int
		added  bool
	}{{agentproto.MaxComment, true}, {agentproto.MaxComment + 1, false}} {
		before := w.keeper.held()
		key := newKey(t)
		err := w.client().Add(agent.AddedKey{PrivateKey: &key, Comment: strings.Repeat("x", tt.length)})
		if added := w.keeper.held() > before; (err == nil) != tt.added || added != tt.added {
			t.Errorf("a comment of %d bytes: %v; kept: %v, want %v", tt.length, err, added, tt.added)
		}
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

func TestRemoveAllOfSSH1IsTolerated(t *testing.T) {
	w := newWorld(t, nil)
	conn, _ := w.dial()
	if got := exchange(t, conn, []byte{0, 0, 0, 1, 9}); !bytes.Equal(got, []byte{agentproto.MsgSuccess}) {
		t.Fatalf("got %x", got)
	}
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

// Clients try what an agent may not support. Nobody asks why that fails.
func TestProbesAreNotNoted(t *testing.T) {
	extension := func(name string) []byte { return frame(agentproto.MsgExtension, wire.AppendString(nil, name)) }
	for _, locked := range []bool{false, true} {
		for name, probe := range map[string][]byte{
			"list SSH 1 keys":                 {0, 0, 0, 1, 1},
			"net-ssh's version":               frame(1, wire.AppendString(nil, "SSH-2.0-Ruby/Net::SSH_7.2.0 x86_64-linux")),
			"remove SSH 1 keys, while locked": {0, 0, 0, 1, 9},
			"unknown extension":               extension("list-extended@putty.projects.tartarus.org"),
			"query":                           extension(agentproto.ExtQuery),
		} {
			t.Run(fmt.Sprintf("%s, locked %v", name, locked), func(t *testing.T) {
				w := newWorld(t, nil)
				w.setLocked(locked)
				conn, _ := w.dial()
				exchange(t, conn, probe)
				if got := w.refusals.last(); got != "" {
					t.Fatalf("noted %q", got)
				}
			})
		}
	}
}

func TestQuestionIsCleaned(t *testing.T) {
	q := Question{Comment: "me", Fingerprint: "SHA256:x", Purpose: "login as root", Peer: Peer{PID: 7, Program: "/bin/\x1b[2Jssh"}}
	got := q.String()
	if strings.Contains(got, "\x1b") || !slices.Contains(strings.Split(got, "\n"), "Key fingerprint SHA256:x.") {
		t.Fatalf("got %q", got)
	}
}
