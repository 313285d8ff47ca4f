package conformance

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// OpenSSH's limits on session binds.
const (
	maxBinds     = 16
	maxSessionID = 128
)

// sid returns a session id that is told from others by its number.
func sid(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// hostSignature signs a session id as a host does at the end of a key exchange.
func hostSignature(t testing.TB, host *key, session []byte, algorithm string) []byte {
	t.Helper()
	sig, err := host.signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, session, algorithm)
	if err != nil {
		t.Fatalf("sign as host %s: %v", host.name, err)
	}
	return wire.AppendString(wire.AppendString(nil, sig.Format), sig.Blob)
}

// bindMessage puts a session-bind message together from its parts.
func bindMessage(hostKey, session, signature []byte, forwarding byte) []byte {
	b := wire.AppendString([]byte{agentcExtension}, "session-bind@openssh.com")
	b = wire.AppendString(b, hostKey)
	b = wire.AppendString(b, session)
	return append(wire.AppendString(b, signature), forwarding)
}

// Whether a bind says that the session is for logging in, or forwards the agent.
const (
	authentication = false
	forwarding     = true
)

// bind returns a valid session bind.
func bind(t testing.TB, host *key, session []byte, forwarding bool) []byte {
	t.Helper()
	algorithm := host.plain.Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	flag := byte(0)
	if forwarding {
		flag = 1
	}
	return bindMessage(host.public, session, hostSignature(t, host, session, algorithm), flag)
}

// bindCases are session-bind@openssh.com by itself.
var bindCases = []testCase{
	{name: "bind to every type of host key", do: func(r *run) {
		ca := r.key("ed25519 host ca")
		for _, kind := range keyKinds {
			host := r.key(kind + " host")
			r.dial().do(kind, bind(r.t, host, sid(1), authentication))
			cert := host.certified(r.t, ca, ssh.HostCert, "host", forever)
			r.dial().do(kind+" certificate", bind(r.t, cert, sid(1), authentication))
			r.dial().do(kind+", forwarding", bind(r.t, host, sid(1), forwarding))
		}
		rsa := r.key("rsa host")
		r.dial().do("rsa, SHA-256", bindMessage(rsa.public, sid(1), hostSignature(r.t, rsa, sid(1), ssh.KeyAlgoRSASHA256), 0))
		r.dial().do("rsa, SHA-1", bindMessage(rsa.public, sid(1), hostSignature(r.t, rsa, sid(1), ssh.KeyAlgoRSA), 0))
	}},
	{name: "bind with a bad signature", do: func(r *run) {
		host, other := r.key("ed25519 host"), r.key("ed25519 other host")
		good := hostSignature(r.t, host, sid(1), ssh.KeyAlgoED25519)
		flipped := bytes.Clone(good)
		flipped[len(flipped)-1] ^= 1
		r.dial().do("a flipped bit", bindMessage(host.public, sid(1), flipped, 0))
		r.dial().do("another session", bindMessage(host.public, sid(2), good, 0))
		r.dial().do("another host", bindMessage(other.public, sid(1), good, 0))
		r.dial().do("no signature", bindMessage(host.public, sid(1), nil, 0))
		r.dial().do("bytes after the signature", bindMessage(host.public, sid(1), append(bytes.Clone(good), 0), 0))
		p256 := r.key("p256 host")
		r.dial().do("a signature of another type", bindMessage(p256.public, sid(1), good, 0))
	}},
	{name: "bind again", do: func(r *run) {
		a, b := r.key("ed25519 host a"), r.key("ed25519 host b")
		c := r.dial()
		c.do("forwarding", bind(r.t, a, sid(1), forwarding))
		c.do("the same again", bind(r.t, a, sid(1), forwarding))
		c.do("the same for authentication", bind(r.t, a, sid(1), authentication))
		c.do("the same session, another key", bind(r.t, b, sid(1), forwarding))
		c.do("another session, the same key", bind(r.t, a, sid(2), forwarding))
		c.do("another session, another key", bind(r.t, b, sid(3), authentication))
		c.do("after one for authentication", bind(r.t, a, sid(4), forwarding))
		c.do("after one for authentication, the same again", bind(r.t, b, sid(3), authentication))
		c.do("list", list())
	}},
	{name: "too many binds", do: func(r *run) {
		c, host := r.dial(), r.key("ed25519 host")
		for n := range maxBinds {
			c.must(bind(r.t, host, sid(byte(n)), forwarding))
		}
		c.do(fmt.Sprintf("bind number %d", maxBinds+1), bind(r.t, host, sid(maxBinds), forwarding))
		c.do("one of the first again", bind(r.t, host, sid(3), forwarding))
		c.do("list", list())
	}},
	{name: "session ids", do: func(r *run) {
		host := r.key("ed25519 host")
		for _, n := range []int{0, 1, maxSessionID, maxSessionID + 1} {
			id := bytes.Repeat([]byte{7}, n)
			r.dial().do(fmt.Sprintf("%d bytes", n), bind(r.t, host, id, authentication))
		}
	}},
	{name: "malformed binds", do: func(r *run) {
		host := r.key("ed25519 host")
		good := bind(r.t, host, sid(1), authentication)
		sig := hostSignature(r.t, host, sid(1), ssh.KeyAlgoED25519)
		r.dial().do("a key of no bytes", bindMessage(nil, sid(1), sig, 0))
		r.dial().do("a key of an unknown type", bindMessage(wire.AppendString(wire.AppendString(nil, "ssh-unknown@example.com"), "x"), sid(1), sig, 0))
		r.dial().do("no flag", good[:len(good)-1])
		r.dial().do("a flag of 2", bindMessage(host.public, sid(1), sig, 2))
		r.dial().do("bytes after it", append(bytes.Clone(good), 0))
		r.dial().do("only its name", extension("session-bind@openssh.com"))
	}},
	{name: "bind while locked", do: func(r *run) {
		c, host, k := r.dial(), r.key("ed25519 host"), r.key("ed25519")
		c.must(add(k, restrict(hop{}, to(host))))
		c.must(lock("secret"))
		c.do("bind", bind(r.t, host, sid(1), forwarding))
		c.do("bind with a bad signature", bindMessage(host.public, sid(9), nil, 0))
		c.do("unlock", unlock("secret"))
		c.do("list: the key may be used to log in there, not beyond", list())
	}},
	{name: "binds belong to a connection", do: func(r *run) {
		c, other, host, k := r.dial(), r.dial(), r.key("ed25519 host"), r.key("ed25519")
		c.must(add(k, restrict(hop{}, to(r.key("ed25519 elsewhere")))))
		c.do("bind", bind(r.t, host, sid(1), authentication))
		c.do("list where it was bound", list())
		other.do("list elsewhere", list())
	}},
}
