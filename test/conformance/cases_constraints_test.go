package conformance

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// askpass lets an agent ask through a script that answers with the given status.
func askpass(status string) func(t testing.TB, dir string) []string {
	return func(t testing.TB, dir string) []string {
		script := writeScript(t, filepath.Join(dir, "askpass"), "#!/bin/sh\nexit "+status+"\n")
		return []string{"SSH_ASKPASS=" + script, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:0"}
	}
}

// constraintCases add keys with constraints other than destinations.
var constraintCases = []testCase{
	{name: "lifetime", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add for an hour", add(k, lifetime(3600)))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.do("add for one second", add(k, lifetime(1)))
		c.until("list until it is gone", list(), "0 keys []")
		c.doSign("sign when it is gone", k, []byte("data"), 0)
		c.do("add for one second", add(k, lifetime(1)))
		c.do("add again without", add(k))
		c.after("list later than that", 1500*time.Millisecond, list())
		c.do("add for the longest time", add(k, lifetime(1<<32-1)))
		c.do("list", list())
		c.do("add with two lifetimes", add(k, lifetime(10), lifetime(20)))
		c.do("add with a lifetime cut short", add(k, []byte{1, 0, 0}))
	}},
	{name: "confirm without a way to ask", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add", add(k, confirm()))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.do("add twice confirmed", add(k, confirm(), confirm()))
		c.do("add again without", add(k))
		c.doSign("sign", k, []byte("data"), 0)
	}},
	{name: "confirm, and the user agrees", env: askpass("0"), do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add", add(k, confirm()))
		c.doSign("sign", k, []byte("data"), 0)
	}},
	{name: "confirm, and the user refuses", env: askpass("1"), do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add", add(k, confirm()))
		c.doSign("sign", k, []byte("data"), 0)
		c.do("list", list())
	}},
	{name: "unknown constraints", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("unknown number", add(k, []byte{3}))
		c.do("unknown number after a known", add(k, lifetime(3600), []byte{42}))
		c.do("RFC 9987's maximum of signatures", add(k, wire.AppendUint32([]byte{3}, 7)))
		c.do("unknown extension", add(k, constraintExtension("unknown@example.com", wire.AppendString(nil, "data"))))
		c.do("extension without a name", add(k, constraintExtension("", nil)))
		c.do("extension cut short", add(k, []byte{255, 0, 0}))
		c.do("a security key's provider for another key", add(k, constraintExtension("sk-provider@openssh.com", wire.AppendString(nil, "internal"))))
		c.do("certificates for another key", add(k, constraintExtension("associated-certs-v00@openssh.com", wire.AppendString([]byte{0}, ""))))
		c.do("list", list())
	}},
	{name: "constraints on the plain add message", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add", append(add(k), lifetime(3600)...))
		c.do("add with an unknown one", append(add(k), 42))
	}},
	{name: "a refused replacement leaves the key as it was", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		c.do("add again with an unknown constraint", addAs(k, "renamed", []byte{42}))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
	}},
	{name: "expired certificate", do: func(r *run) {
		c, k, ca := r.dial(), r.key("ed25519"), r.key("ed25519 user ca")
		cert := r.know(k.certified(r.t, ca, ssh.UserCert, "user", time.Now().Add(-time.Hour)))
		c.do("add", add(cert))
		c.doSign("sign", cert, []byte("data"), 0)
		c.do("list", list())
	}},
}

// until repeats a message until its answer is the one wanted, for a while; what
// is noted is the last answer.
func (c *client) until(step string, msg []byte, want string) {
	c.run.t.Helper()
	deadline := time.Now().Add(answerDeadline)
	for {
		reply, err := c.exchange(msg)
		answer := c.run.describe(reply, err)
		if answer == want || time.Now().After(deadline) {
			c.run.note(step, answer)
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// after sends a message once a time has passed that decides its answer.
func (c *client) after(step string, d time.Duration, msg []byte) {
	c.run.t.Helper()
	<-time.After(d)
	c.do(step, msg)
}
