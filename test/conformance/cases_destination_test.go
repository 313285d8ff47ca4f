package conformance

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// hop is one end of a destination constraint.
type hop struct {
	user, host, reserved string
	keys                 []*key // host keys
	cas                  []*key // CAs of host certificates
}

// to is a hop to a host, known by its key, whose name is the key's.
func to(host *key) hop { return hop{host: host.name, keys: []*key{host}} }

func (h hop) encode() []byte {
	b := wire.AppendString(wire.AppendString(wire.AppendString(nil, h.user), h.host), h.reserved)
	for _, k := range h.keys {
		b = append(wire.AppendString(b, k.public), 0)
	}
	for _, k := range h.cas {
		b = append(wire.AppendString(b, k.public), 1)
	}
	return b
}

// oneConstraint encodes a constraint from one hop to another.
func oneConstraint(from, to hop, reserved string) []byte {
	b := wire.AppendString(wire.AppendString(nil, from.encode()), to.encode())
	return wire.AppendString(nil, wire.AppendString(b, reserved))
}

// restrict constrains a key to hops given in pairs, from and to; an empty hop
// to come from is the origin, where the agent runs.
func restrict(hops ...hop) []byte {
	var all []byte
	for i := 0; i < len(hops); i += 2 {
		all = append(all, oneConstraint(hops[i], hops[i+1], "")...)
	}
	return restriction(all)
}

func restriction(constraints []byte) []byte {
	return constraintExtension("restrict-destination-v00@openssh.com", wire.AppendString(nil, constraints))
}

// request is the data that ssh has signed to log in.
type request struct {
	session []byte
	number  byte
	user    string
	service string
	method  string
	follows byte
	alg     string
	key     *key
	host    *key // for the host-bound method
	rest    []byte
}

// login is the request to log in as user with k, in a session with a host.
func login(session []byte, user string, k, host *key) request {
	return request{
		session: session, number: 50, user: user, service: "ssh-connection",
		method: "publickey-hostbound-v00@openssh.com", follows: 1, alg: k.plain.Type(), key: k, host: host,
	}
}

// plain is the same by the method that doesn't name the host.
func (q request) plain() request {
	q.method, q.host = "publickey", nil
	return q
}

func (q request) encode() []byte {
	b := append(wire.AppendString(nil, q.session), q.number)
	b = wire.AppendString(wire.AppendString(wire.AppendString(b, q.user), q.service), q.method)
	b = wire.AppendString(wire.AppendString(append(b, q.follows), q.alg), q.key.public)
	if q.host != nil {
		b = wire.AppendString(b, q.host.public)
	}
	return append(b, q.rest...)
}

// hosts returns three hosts, a key, and the user everybody logs in as.
func (r *run) hosts() (a, b, c, k *key) {
	return r.key("ed25519 host a"), r.key("p256 host b"), r.key("rsa host c"), r.key("ed25519")
}

// destinationCases are restrict-destination-v00@openssh.com.
var destinationCases = []testCase{
	{name: "a destination on a connection nobody bound", do: func(r *run) {
		a, _, _, k := r.hosts()
		c := r.dial()
		c.do("add", add(k, restrict(hop{}, to(a))))
		c.do("list", list())
		c.doSign("sign a login", k, login(sid(1), "user", k, a).encode(), 0)
		c.doSign("sign other data", k, []byte("data"), 0)
		c.do("remove", remove(k))
	}},
	{name: "one hop", do: func(r *run) {
		a, b, _, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(a))))
		c := r.dial()
		c.do("bind to a", bind(r.t, a, sid(1), authentication))
		c.do("list", list())
		good := login(sid(1), "user", k, a)
		c.doSign("log in", k, good.encode(), 0)
		c.doSign("log in as another", k, login(sid(1), "other", k, a).encode(), 0)
		c.doSign("log in by the plain method", k, good.plain().encode(), 0)
		c.doSign("another session", k, login(sid(2), "user", k, a).encode(), 0)
		c.doSign("a session of no bytes", k, login(nil, "user", k, a).encode(), 0)
		c.doSign("another host in the request", k, login(sid(1), "user", k, b).encode(), 0)
		c.doSign("other data", k, []byte("data"), 0)
		other := r.dial()
		other.do("bind to b", bind(r.t, b, sid(1), authentication))
		other.do("list", list())
		other.doSign("log in to b", k, login(sid(1), "user", k, b).encode(), 0)
		other.do("remove what is hidden", remove(k))
		other.do("replace what is hidden", add(k))
		r.dial().do("list unbound", list())
	}},
	{name: "requests that are no logins", do: func(r *run) {
		a, _, _, k := r.hosts()
		c := r.dial()
		c.must(add(k, restrict(hop{}, to(a))))
		c.must(bind(r.t, a, sid(1), authentication))
		good := login(sid(1), "user", k, a)
		for _, change := range []struct {
			what string
			do   func(q *request)
		}{
			{"nothing changed", func(*request) {}},
			{"another message number", func(q *request) { q.number = 51 }},
			{"another service", func(q *request) { q.service = "ssh-userauth" }},
			{"another method", func(q *request) { q.method, q.host = "hostbased", nil }},
			{"no signature follows", func(q *request) { q.follows = 0 }},
			{"a signature follows, twice", func(q *request) { q.follows = 2 }},
			{"another key", func(q *request) { q.key = r.key("ed25519 two") }},
			{"another algorithm", func(q *request) { q.alg = "rsa-sha2-512" }},
			{"an unknown algorithm", func(q *request) { q.alg = "unknown" }},
			{"bytes after it", func(q *request) { q.rest = []byte{0} }},
			{"host-bound without a host", func(q *request) { q.host = nil }},
			{"plain with a host", func(q *request) { q.method = "publickey" }},
			{"a zero byte in the user", func(q *request) { q.user = "us\x00er" }},
			{"no user", func(q *request) { q.user = "" }},
		} {
			q := good
			change.do(&q)
			c.doSign(change.what, k, q.encode(), 0)
		}
		data := good.encode()
		refused := 0
		for n := range len(data) {
			if reply, err := c.exchange(sign(k, data[:n], 0)); err == nil && reply[0] == agentFailure {
				refused++
			}
		}
		answer := "some signed"
		if refused == len(data) {
			answer = "failure"
		}
		r.note("each beginning of a login", answer)
	}},
	{name: "users", do: func(r *run) {
		a, _, _, _ := r.hosts()
		for _, u := range []struct{ pattern, user string }{
			{"alice", "alice"},
			{"alice", "Alice"},
			{"alice", "alicex"},
			{"al*", "alice"},
			{"al?ce", "alice"},
			{"*", "anyone"},
			{"a*e,b*", "bob"},
			{"!alice", "bob"},
			{"al[i]ce", "alice"},
			{"**e", "alice"},
			{"?", ""},
			{"*", ""},
		} {
			k := r.key("ed25519")
			dest := to(a)
			dest.user = u.pattern
			c := r.dial()
			c.must(add(k, restrict(hop{}, dest)))
			c.must(bind(r.t, a, sid(1), authentication))
			c.doSign(u.user+" where "+u.pattern+" may", k, login(sid(1), u.user, k, a).encode(), 0)
		}
	}},
	{name: "several destinations", do: func(r *run) {
		a, b, h, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(a), hop{}, to(b))))
		for _, host := range []*key{a, b, h} {
			c := r.dial()
			c.must(bind(r.t, host, sid(1), authentication))
			c.do("list at "+host.name, list())
			c.doSign("log in to "+host.name, k, login(sid(1), "user", k, host).encode(), 0)
		}
	}},
	{name: "two hops", do: func(r *run) {
		a, b, h, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(a), to(a), to(b))))
		c := r.dial()
		c.do("forward to a", bind(r.t, a, sid(1), forwarding))
		c.do("list from a", list())
		c.doSign("sign on the forwarding hop", k, login(sid(1), "user", k, a).encode(), 0)
		c.do("bind to b", bind(r.t, b, sid(2), authentication))
		c.do("list from a for b", list())
		c.doSign("log in to b", k, login(sid(2), "user", k, b).encode(), 0)
		c.doSign("log in to b by the plain method", k, login(sid(2), "user", k, b).plain().encode(), 0)
		c.doSign("log in to b in the session with a", k, login(sid(1), "user", k, b).encode(), 0)
		c.doSign("log in to b, naming a", k, login(sid(2), "user", k, a).encode(), 0)
		other := r.dial()
		other.must(bind(r.t, a, sid(1), forwarding))
		other.must(bind(r.t, h, sid(2), authentication))
		other.do("list from a for c", list())
		other.doSign("log in from a to c", k, login(sid(2), "user", k, h).encode(), 0)
		direct := r.dial()
		direct.must(bind(r.t, b, sid(1), authentication))
		direct.do("list for b from the origin", list())
		direct.doSign("log in to b from the origin", k, login(sid(1), "user", k, b).encode(), 0)
	}},
	{name: "three hops", do: func(r *run) {
		a, b, h, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(a), to(a), to(b), to(b), to(h))))
		c := r.dial()
		c.must(bind(r.t, a, sid(1), forwarding))
		c.must(bind(r.t, b, sid(2), forwarding))
		c.do("list from b", list())
		c.must(bind(r.t, h, sid(3), authentication))
		c.do("list from b for c", list())
		c.doSign("log in to c", k, login(sid(3), "user", k, h).encode(), rsaSHA512)
		skipped := r.dial()
		skipped.must(bind(r.t, a, sid(1), forwarding))
		skipped.must(bind(r.t, h, sid(3), authentication))
		skipped.do("list for c, b left out", list())
		skipped.doSign("log in to c, b left out", k, login(sid(3), "user", k, h).encode(), 0)
		turned := r.dial()
		turned.must(bind(r.t, b, sid(1), forwarding))
		turned.must(bind(r.t, a, sid(2), authentication))
		turned.do("list with the hops turned round", list())
		turned.doSign("log in with the hops turned round", k, login(sid(2), "user", k, a).encode(), 0)
	}},
	{name: "a key for logging in there, not for use beyond", do: func(r *run) {
		a, b, _, k := r.hosts()
		c := r.dial()
		c.must(add(k, restrict(hop{}, to(a))))
		c.must(add(r.key("ed25519 free")))
		c.do("forward to a", bind(r.t, a, sid(1), forwarding))
		c.do("list from a", list())
		c.do("remove what is hidden", remove(k))
		c.do("bind to b", bind(r.t, b, sid(2), authentication))
		c.do("list from a for b", list())
		c.doSign("log in to b", k, login(sid(2), "user", k, b).encode(), 0)
		c.doSign("log in to b with the free key", r.key("ed25519 free"), login(sid(2), "user", k, b).encode(), 0)
		c.do("remove all", []byte{agentcRemoveAll})
		r.dial().do("list unbound", list())
	}},
	{name: "forwarding after a bind for authentication", do: func(r *run) {
		a, b, _, k := r.hosts()
		c := r.dial()
		c.must(add(k, restrict(hop{}, to(a), to(a), to(b))))
		c.must(bind(r.t, a, sid(1), authentication))
		c.do("bind to b", bind(r.t, b, sid(2), authentication))
		c.do("list", list())
		c.doSign("log in to b", k, login(sid(2), "user", k, b).encode(), 0)
	}},
	{name: "a bind that failed", do: func(r *run) {
		a, _, _, k := r.hosts()
		c := r.dial()
		c.must(add(k, restrict(hop{}, to(a))))
		c.must(add(r.key("ed25519 free")))
		c.do("bind with a bad signature", bindMessage(a.public, sid(1), nil, 0))
		c.do("list", list())
		c.doSign("log in", k, login(sid(1), "user", k, a).encode(), 0)
		c.doSign("sign with the free key", r.key("ed25519 free"), []byte("data"), 0)
		c.do("bind well", bind(r.t, a, sid(1), authentication))
		c.do("list", list())
		c.doSign("log in", k, login(sid(1), "user", k, a).encode(), 0)
	}},
	{name: "host certificates", do: func(r *run) {
		ca, other, _, k := r.hosts()
		host := r.key("ed25519 certified")
		dest := hop{host: "host.example", cas: []*key{ca}}
		r.dial().must(add(k, restrict(hop{}, dest)))
		for _, cert := range []struct {
			what string
			key  *key
		}{
			{"right", host.certified(r.t, ca, ssh.HostCert, "host.example", forever)},
			{"another name", host.certified(r.t, ca, ssh.HostCert, "other.example", forever)},
			{"a name in capitals", host.certified(r.t, ca, ssh.HostCert, "HOST.example", forever)},
			{"a pattern for the name", host.certified(r.t, ca, ssh.HostCert, "*.example", forever)},
			{"expired", host.certified(r.t, ca, ssh.HostCert, "host.example", time.Now().Add(-time.Hour))},
			{"another CA", host.certified(r.t, other, ssh.HostCert, "host.example", forever)},
			{"a user's certificate", host.certified(r.t, ca, ssh.UserCert, "host.example", forever)},
			{"no certificate", host},
			{"the CA's own key", ca},
		} {
			c := r.dial()
			c.do("bind: "+cert.what, bind(r.t, cert.key, sid(1), authentication))
			c.do("list: "+cert.what, list())
			c.doSign("log in: "+cert.what, k, login(sid(1), "user", k, cert.key).encode(), 0)
		}
	}},
	{name: "a certified host whose key is listed", do: func(r *run) {
		ca, host, _, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(host))))
		c := r.dial()
		cert := host.certified(r.t, ca, ssh.HostCert, host.name, forever)
		c.do("bind with its certificate", bind(r.t, cert, sid(1), authentication))
		c.do("list", list())
		c.doSign("log in", k, login(sid(1), "user", k, cert).encode(), 0)
	}},
	{name: "a user's certificate with a destination", do: func(r *run) {
		a, b, ca, plain := r.hosts()
		k := r.know(plain.certified(r.t, ca, ssh.UserCert, "user", forever))
		c := r.dial()
		c.must(add(k, restrict(hop{}, to(a))))
		c.must(bind(r.t, a, sid(1), authentication))
		q := login(sid(1), "user", k, a)
		q.alg = "ssh-ed25519-cert-v01@openssh.com"
		c.doSign("log in", k, q.encode(), 0)
		q.alg = "ssh-ed25519"
		c.doSign("log in by the bare key's algorithm", k, q.encode(), 0)
		c.doSign("log in with the bare key", plain, login(sid(1), "user", plain, b).encode(), 0)
	}},
	{name: "malformed destinations", do: func(r *run) {
		a, b, _, k := r.hosts()
		c := r.dial()
		with := func(what string, constraint []byte) { c.do(what, add(k, constraint)) }
		good := to(a)
		with("a user to come from", restrict(hop{user: "u", host: a.name, keys: good.keys}, to(b)))
		with("a host to come from without keys", restrict(hop{host: a.name}, to(b)))
		with("keys to come from without a host", restrict(hop{keys: good.keys}, to(b)))
		with("no host to go to", restrict(hop{}, hop{keys: good.keys}))
		with("no keys of the host to go to", restrict(hop{}, hop{host: a.name}))
		with("nowhere to go", restrict(hop{}, hop{}))
		with("something in the reserved field of a hop", restrict(hop{}, hop{host: a.name, keys: good.keys, reserved: "x"}))
		with("something in the reserved field of a constraint", restriction(oneConstraint(hop{}, good, "x")))
		with("no constraints", restriction(nil))
		c.do("list after no constraints", list())
		c.must([]byte{agentcRemoveAll})
		with("half a constraint", restriction(oneConstraint(hop{}, good, "")[:20]))
		with("bytes after the last field", restriction(append(oneConstraint(hop{}, good, ""), 0)))
		with("given twice", append(restrict(hop{}, good), restrict(hop{}, to(b))...))
		with("cut short", restrict(hop{}, good)[:60])
		user := good
		user.user = strings.Repeat("u", 256)
		with("a user of 256 characters", restrict(hop{}, user))
		user.user += "u"
		with("a user of 257 characters", restrict(hop{}, user))
		broken := good.encode()
		with("a key that is none", restriction(wire.AppendString(nil, wire.AppendString(wire.AppendString(wire.AppendString(nil, hop{}.encode()), append(bytes.Clone(broken), wire.AppendString(nil, "nonsense")...)), ""))))
		with("a flag of 2", restriction(wire.AppendString(nil, wire.AppendString(wire.AppendString(wire.AppendString(nil, hop{}.encode()), append(bytes.Clone(broken[:len(broken)-1]), 2)), ""))))
		c.must([]byte{agentcRemoveAll})
		c.do("1,024 of them", add(k, restriction(bytes.Repeat(oneConstraint(hop{}, good, ""), 1024))))
		c.do("list", list())
		c.do("1,025 of them", add(r.key("ed25519 two"), restriction(bytes.Repeat(oneConstraint(hop{}, good, ""), 1025))))
		c.do("list", list())
	}},
	{name: "a replaced key has the new destinations", do: func(r *run) {
		a, b, _, k := r.hosts()
		r.dial().must(add(k, restrict(hop{}, to(a))))
		r.dial().must(add(k, restrict(hop{}, to(b))))
		for _, host := range []*key{a, b} {
			c := r.dial()
			c.must(bind(r.t, host, sid(1), authentication))
			c.do("list for "+host.name, list())
		}
		r.dial().must(add(k))
		c := r.dial()
		c.must(bind(r.t, a, sid(1), authentication))
		c.do("list for host a once it has none", list())
		c.doSign("sign other data", k, []byte("data"), 0)
	}},
	{name: "adding over a forwarded connection", do: func(r *run) {
		a, b, _, k := r.hosts()
		c := r.dial()
		c.must(bind(r.t, a, sid(1), forwarding))
		c.do("add", add(k))
		c.do("add with a destination elsewhere", add(r.key("ed25519 two"), restrict(hop{}, to(b))))
		c.do("list", list())
		r.dial().do("list at home", list())
	}},
}
