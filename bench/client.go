package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"
)

// Numbers of RFC 9987.
const (
	agentcList      = 11
	agentIdentities = 12
	agentcSign      = 13
	agentSignature  = 14
	rsaSHA512       = 4
)

// client speaks the protocol with as little work of its own as it can: requests
// are put together beforehand, answers are read into one buffer.
type client struct {
	net.Conn
	buf []byte
}

// exchange writes a request and returns the answer, valid until the next.
func (c *client) exchange(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	if c.buf == nil {
		c.buf = make([]byte, 4+256<<10)
	}
	// One read most often brings it all, as with OpenSSH's client.
	n, err := io.ReadAtLeast(c, c.buf, 5)
	if err != nil {
		return nil, err
	}
	end := 4 + int(binary.BigEndian.Uint32(c.buf))
	if end > len(c.buf) {
		return nil, fmt.Errorf("answer of %d bytes", end)
	}
	if n < end {
		if _, err := io.ReadFull(c, c.buf[n:end]); err != nil {
			return nil, err
		}
	}
	return c.buf[4:end], nil
}

// sign exchanges a signature request.
func (c *client) sign(request []byte) error {
	reply, err := c.exchange(request)
	if err == nil && reply[0] != agentSignature {
		err = fmt.Errorf("a signature was answered with %d", reply[0])
	}
	return err
}

// list asks for the keys, of which there have to be n.
func (c *client) list(n int) error {
	reply, err := c.exchange([]byte{0, 0, 0, 1, agentcList})
	if err != nil {
		return err
	}
	if len(reply) < 5 || reply[0] != agentIdentities || binary.BigEndian.Uint32(reply[1:]) != uint32(n) {
		return fmt.Errorf("a listing of %d keys was answered with %x", n, reply[:min(len(reply), 5)])
	}
	return nil
}

// key is a private key to add and a request to sign with it.
type key struct {
	private any
	request []byte
}

// makeKeys makes a key of each measured type.
func makeKeys() (map[string]key, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	r, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return nil, err
	}
	keys := map[string]key{}
	for name, private := range map[string]any{"ed25519": ed, "p256": ec, "rsa3072": r} {
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			return nil, err
		}
		keys[name] = key{private, signRequest(signer.PublicKey().Marshal())}
	}
	return keys, nil
}

// signRequest is a whole request to sign what a login signs: some 200 bytes.
func signRequest(public []byte) []byte {
	data := make([]byte, 200)
	body := []byte{agentcSign}
	for _, s := range [][]byte{public, data} {
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(s))), s...)
	}
	body = binary.BigEndian.AppendUint32(body, rsaSHA512)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// add puts keys into the agent, by x/crypto's client.
func (a *agent) add(keys ...any) error {
	c, err := dial(a.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	to := sshagent.NewClient(c)
	for i, private := range keys {
		added := sshagent.AddedKey{PrivateKey: private, Comment: fmt.Sprintf("key number %d", i)}
		if err := to.Add(added); err != nil {
			return fmt.Errorf("add key %d: %w", i, err)
		}
	}
	return nil
}

// ed25519Keys makes n keys.
func ed25519Keys(n int) ([]any, error) {
	keys := make([]any, n)
	for i := range keys {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[i] = private
	}
	return keys, nil
}
