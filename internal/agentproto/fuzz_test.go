package agentproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/wire"
)

// FuzzConstraints holds that what is accepted encodes to the same meaning, and
// costs no more than a multiple of its size.
func FuzzConstraints(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendConstraints(nil, Constraints{HasLifetime: true, Lifetime: 60, Confirm: true}))
	f.Add(appendConstraints(nil, Constraints{To: []Destination{destination(), {To: destination().To}}}))
	f.Add(body([]byte{ConstrainExtension}, "associated-certs-v00@openssh.com", true, string(body("certificate"))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseConstraints(raw)
		if err != nil {
			return
		}
		again, err := ParseConstraints(appendConstraints(nil, c))
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if !bytes.Equal(appendConstraints(nil, again), appendConstraints(nil, c)) {
			t.Fatal("encoding changed the meaning")
		}
		for i := range c.To {
			if err := c.To[i].check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzSigned holds that no data is two things at once, and that a login that
// parses is one that a server would build.
func FuzzSigned(f *testing.F) {
	f.Add(body("id", []byte{50}, "root", "ssh-connection", "publickey", true, "ssh-ed25519", "key"))
	f.Add(body("id", []byte{50}, "root", "ssh-connection", "publickey-hostbound-v00@openssh.com", true, "ssh-ed25519", "key", "host"))
	f.Add(body([]byte("SSHSIG"), "git", "", "sha512", "hash"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, ok := ParseUserauth(data)
		_, isSig := ParseSSHSig(data)
		if !ok {
			return
		}
		if isSig {
			t.Fatal("a login and an SSHSIG")
		}
		method, host := "publickey", []byte{}
		if u.HostKey != nil {
			method, host = "publickey-hostbound-v00@openssh.com", body(string(u.HostKey))
		}
		again := body(string(u.SessionID), []byte{50}, string(u.User), "ssh-connection", method, true, string(u.Algorithm), string(u.Key), host)
		if !bytes.Equal(again, data) {
			t.Fatalf("read %+v from other bytes", u)
		}
	})
}

// FuzzAgainstXCrypto gives one message to golang.org/x/crypto/ssh/agent's server
// and to the decoders here: both must call it the same, with the same values, or
// both refuse it. Where they differ on purpose the code below says so.
func FuzzAgainstXCrypto(f *testing.F) {
	key := body("ssh-ed25519", "0123456789abcdef0123456789abcdef")
	f.Add(append([]byte{MsgSignRequest}, body(string(key), "data", 0)...))
	f.Add(append([]byte{MsgSignRequest}, body(string(key), "data", FlagRSASHA256)...))
	f.Add(append([]byte{MsgRemoveIdentity}, body(string(key))...))
	f.Add([]byte{MsgRemoveAllIdentities})
	f.Add([]byte{MsgRemoveAllRSA})
	f.Add([]byte{MsgRequestIdentities})
	f.Add(append([]byte{MsgLock}, body("secret")...))
	f.Add(append([]byte{MsgUnlock}, body("secret")...))
	f.Add(append([]byte{MsgExtension}, body("query")...))
	f.Add(appendSessionBind(nil, SessionBind{HostKey: key, SessionID: []byte("id"), Signature: []byte("sig")})[4:])
	f.Add([]byte{MsgAddToken})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) == 0 || len(message) > MaxMessage {
			return
		}
		if number := message[0]; number == MsgAddIdentity || number == MsgAddIDConstrained || number == 1 {
			return // keys are package signer's; x/crypto answers SSH 1's list
		}
		theirs, ours := theirReading(t, message), ourReading(message)
		if ours != nil && theirs == nil {
			t.Fatalf("only we read %+v", *ours)
		}
		if theirs != nil && ours == nil && !stricter(message) {
			t.Fatalf("only x/crypto reads %+v", *theirs)
		}
		if theirs != nil && ours != nil && !theirs.equal(ours) {
			t.Fatalf("x/crypto reads %+v, we %+v", *theirs, *ours)
		}
	})
}

// stricter reports whether we refuse a message on purpose that x/crypto takes.
func stricter(message []byte) bool {
	switch message[0] {
	case MsgRequestIdentities, MsgRemoveAllIdentities, MsgRemoveAllRSA:
		return len(message) > 1 // bytes after the end
	case MsgLock, MsgUnlock:
		return bytes.Equal(message[1:], []byte{0, 0, 0, 0}) // an empty passphrase
	}
	return false
}

// reading is what a request was understood as.
type reading struct {
	call       string
	key, data  []byte
	flags      uint32
	name, rest []byte
}

func (r *reading) equal(o *reading) bool {
	return r.call == o.call && bytes.Equal(r.key, o.key) && bytes.Equal(r.data, o.data) && r.flags == o.flags &&
		bytes.Equal(r.name, o.name) && bytes.Equal(r.rest, o.rest)
}

// ourReading decodes like a session does. As x/crypto does, it wants the blob of
// a key to begin with a type; sessions look blobs up as they are.
func ourReading(message []byte) *reading {
	number, rest := message[0], message[1:]
	typed := func(blob []byte) bool {
		r := wire.NewReader(blob)
		r.String()
		return r.Err() == nil
	}
	switch number {
	case MsgSignRequest:
		if q, err := ParseSign(rest); err == nil && typed(q.Key) {
			return &reading{call: "sign", key: q.Key, data: q.Data, flags: q.Flags}
		}
	case MsgRemoveIdentity:
		if key, err := ParseRemove(rest); err == nil && typed(key) {
			return &reading{call: "remove", key: key}
		}
	case MsgRequestIdentities, MsgRemoveAllIdentities, MsgRemoveAllRSA:
		if ParseEmpty(rest) == nil {
			return &reading{call: map[byte]string{11: "list", 19: "remove all", 9: "nothing"}[number]}
		}
	case MsgLock, MsgUnlock:
		if p, err := ParsePassphrase(rest); err == nil {
			return &reading{call: map[byte]string{22: "lock", 23: "unlock"}[number], data: p}
		}
	case MsgExtension:
		if x, err := ParseExtension(rest); err == nil {
			return &reading{call: "extension", name: x.Name, rest: x.Data}
		}
	}
	return nil
}

// recorder is an agent that notes what it was called with.
type recorder struct{ got *reading }

var errRecorded = errors.New("recorded")

func (r *recorder) note(n reading) error { r.got = &n; return errRecorded }

func (r *recorder) List() ([]*agent.Key, error) { return nil, r.note(reading{call: "list"}) }
func (r *recorder) RemoveAll() error            { return r.note(reading{call: "remove all"}) }
func (r *recorder) Lock(p []byte) error         { return r.note(reading{call: "lock", data: p}) }
func (r *recorder) Unlock(p []byte) error       { return r.note(reading{call: "unlock", data: p}) }
func (r *recorder) Add(agent.AddedKey) error    { return r.note(reading{call: "add"}) }

func (r *recorder) Signers() ([]ssh.Signer, error)                     { return nil, errRecorded }
func (r *recorder) Sign(ssh.PublicKey, []byte) (*ssh.Signature, error) { return nil, errRecorded }

func (r *recorder) SignWithFlags(k ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	return nil, r.note(reading{call: "sign", key: k.Marshal(), data: data, flags: uint32(flags)})
}

func (r *recorder) Remove(k ssh.PublicKey) error {
	return r.note(reading{call: "remove", key: k.Marshal()})
}

func (r *recorder) Extension(name string, contents []byte) ([]byte, error) {
	return nil, r.note(reading{call: "extension", name: []byte(name), rest: contents})
}

// theirReading returns what x/crypto's server calls its agent with, or nil when
// it refuses the message by itself.
func theirReading(t *testing.T, message []byte) *reading {
	client, server := net.Pipe()
	defer client.Close()
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		_ = agent.ServeAgent(r, server)
	}()
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
	if _, err := client.Write(frame); err != nil {
		t.Fatal(err)
	}
	var header [5]byte
	if _, err := io.ReadFull(client, header[:]); err != nil {
		t.Fatal(err)
	}
	client.Close()
	<-done
	if r.got == nil && header[4] == MsgSuccess {
		return &reading{call: "nothing"}
	}
	return r.got
}
