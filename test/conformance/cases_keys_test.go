package conformance

import (
	"bytes"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// keyKinds are the key types an agent has to take.
var keyKinds = []string{"ed25519", "p256", "p384", "p521", "rsa"}

// RSA's signature flags.
const (
	rsaSHA256 = 2
	rsaSHA512 = 4
)

// forever is a time that certificates of tests are in force until.
var forever = time.Now().Add(100 * 24 * time.Hour)

// keyCases add, list, sign with and remove keys and certificates.
var keyCases = []testCase{
	{name: "empty agent", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.do("remove", remove(k))
		c.do("remove all", []byte{agentcRemoveAll})
		c.do("remove all RSA1 keys", []byte{agentcRemoveAllRSA})
	}},
	{name: "every key type", do: func(r *run) {
		c := r.dial()
		for _, kind := range keyKinds {
			k := r.key(kind)
			c.do("add "+kind, add(k))
			c.do("list after "+kind, list())
			c.doSign("sign with "+kind, k, []byte("data to sign"), rsaSHA256)
			c.doSign("sign nothing with "+kind, k, nil, rsaSHA512)
			c.doSign("sign 100,000 bytes with "+kind, k, bytes.Repeat([]byte("x"), 100_000), rsaSHA512)
		}
		for _, kind := range keyKinds {
			c.do("remove "+kind, remove(r.key(kind)))
			c.do("remove "+kind+" again", remove(r.key(kind)))
		}
		c.do("list", list())
	}},
	{name: "signature flags", do: func(r *run) {
		c, rsa, ed := r.dial(), r.key("rsa"), r.key("ed25519")
		c.must(add(rsa))
		c.must(add(ed))
		c.doSign("rsa, no flags", rsa, []byte("data"), 0)
		c.doSign("rsa, SHA-256", rsa, []byte("data"), rsaSHA256)
		c.doSign("rsa, SHA-512", rsa, []byte("data"), rsaSHA512)
		c.doSign("rsa, both", rsa, []byte("data"), rsaSHA256|rsaSHA512)
		c.doSign("rsa, unknown flag 1", rsa, []byte("data"), 1)
		c.doSign("rsa, unknown flag 8", rsa, []byte("data"), 8)
		c.doSign("rsa, SHA-512 and unknown flag 8", rsa, []byte("data"), rsaSHA512|8)
		c.doSign("ed25519, SHA-512", ed, []byte("data"), rsaSHA512)
		c.doSign("ed25519, unknown flag 8", ed, []byte("data"), 8)
	}},
	{name: "keys stay in the order they came", do: func(r *run) {
		c := r.dial()
		for _, name := range []string{"ed25519 one", "p256", "ed25519 two"} {
			c.must(add(r.key(name)))
		}
		c.do("list", list())
		c.do("add the first again, with another comment", addAs(r.key("ed25519 one"), "renamed"))
		c.do("list", list())
		c.do("remove the second", remove(r.key("p256")))
		c.do("add the second again", add(r.key("p256")))
		c.do("list", list())
		c.do("remove all", []byte{agentcRemoveAll})
		c.do("list", list())
		c.doSign("sign with a removed key", r.key("ed25519 one"), []byte("data"), 0)
	}},
	{name: "the old remove-all", do: func(r *run) {
		c := r.dial()
		c.must(add(r.key("ed25519")))
		c.do("remove all RSA1 keys", []byte{agentcRemoveAllRSA})
	}},
	{name: "connections share the keys", do: func(r *run) {
		a, b, k := r.dial(), r.dial(), r.key("ed25519")
		a.do("add on one", add(k))
		b.do("list on another", list())
		b.doSign("sign on another", k, []byte("data"), 0)
		a.Close()
		b.do("list after the first closed", list())
	}},
	{name: "comments", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.do("add without", addAs(k, ""))
		c.do("list", list())
		c.do("add with UTF-8", addAs(k, "schlüssel ключ"))
		c.do("list", list())
		c.do("add with a line end", addAs(k, "two\nlines"))
		c.do("add with a zero byte", addAs(k, "zero\x00byte"))
	}},
	{name: "certificates", do: func(r *run) {
		c, ca := r.dial(), r.key("ed25519 user ca")
		for _, kind := range keyKinds {
			k := r.key(kind)
			cert := r.know(k.certified(r.t, ca, ssh.UserCert, "user", forever))
			c.do("add certificate of "+kind, add(cert))
			c.do("list", list())
			c.doSign("sign with certificate of "+kind, cert, []byte("data"), rsaSHA512)
			c.doSign("sign with the bare key of "+kind, k, []byte("data"), rsaSHA512)
			c.do("add "+kind+" beside it", add(k))
			c.do("list", list())
			c.doSign("sign with "+kind, k, []byte("data"), rsaSHA512)
			c.do("remove certificate of "+kind, remove(cert))
			c.do("list", list())
			c.do("remove "+kind, remove(k))
		}
	}},
	{name: "certificate of another key", do: func(r *run) {
		c, ca := r.dial(), r.key("ed25519 user ca")
		for _, kind := range keyKinds {
			k, other := r.key(kind), r.key(kind+" two")
			cert := k.certified(r.t, ca, ssh.UserCert, "user", forever)
			mixed := wire.AppendString(nil, string(firstString(cert.public)))
			mixed = wire.AppendString(mixed, cert.public)
			mixed = append(mixed, other.certTail(r.t)...)
			c.do("add "+kind, add(&key{name: kind, body: mixed}))
		}
	}},
	{name: "halves that don't belong together", do: func(r *run) {
		c := r.dial()
		for _, kind := range keyKinds {
			k, other := r.key(kind), r.key(kind+" two")
			c.do("add "+kind+" with another's public half", add(&key{name: kind, body: halves(kind, other.body, k.body)}))
		}
		c.do("add ed25519 whose two copies of the public half differ", add(&key{name: "x", body: twoPublics(r.key("ed25519"), r.key("ed25519 two"))}))
	}},
	{name: "key types nobody can sign with", do: func(r *run) {
		c := r.dial()
		unknown := wire.AppendString(nil, "ssh-unknown@example.com")
		unknown = wire.AppendString(unknown, "some")
		c.do("add an unknown type", add(&key{name: "unknown", body: wire.AppendString(unknown, "bytes")}))
		c.do("list", list())
		dss := wire.AppendString(nil, "ssh-dss")
		for range 5 {
			dss = wire.AppendMpint(dss, []byte{1, 2, 3})
		}
		c.do("add DSA", add(&key{name: "dsa", body: dss}))
		c.do("sign with an unknown type", wire.AppendUint32(wire.AppendString(wire.AppendString([]byte{agentcSign}, wire.AppendString(nil, "ssh-unknown@example.com")), "data"), 0))
		c.do("remove an unknown type", wire.AppendString([]byte{agentcRemove}, wire.AppendString(nil, "ssh-unknown@example.com")))
		c.do("list", list())
	}},
	{name: "tokens", do: func(r *run) {
		c := r.dial()
		token := wire.AppendString(wire.AppendString(nil, "/nonexistent/pkcs11.so"), "1234")
		c.do("add a token", append([]byte{agentcAddToken}, token...))
		c.do("add a token, constrained", append(append([]byte{agentcAddTokenConstr}, token...), lifetime(10)...))
		c.do("remove a token", append([]byte{agentcRemoveToken}, token...))
		c.do("list", list())
	}},
}

func firstString(b []byte) []byte {
	r := wire.NewReader(b)
	return r.String()
}

// halves returns the add body of a key whose public half comes from one body
// and whose private half comes from another.
func halves(kind string, public, private []byte) []byte {
	pub, priv := wire.NewReader(public), wire.NewReader(private)
	body := wire.AppendString(nil, pub.String())
	priv.String()
	fields := map[string]int{"ed25519": 1, "rsa": 2}[kind]
	if fields == 0 {
		fields = 2 // curve and point
	}
	for range fields {
		body = wire.AppendString(body, pub.String())
		priv.String()
	}
	return append(body, priv.Rest()...)
}

// twoPublics returns the add body of an Ed25519 key whose second copy of the
// public half, in the last 32 bytes, is another key's.
func twoPublics(k, other *key) []byte {
	body := bytes.Clone(k.body)
	copy(body[len(body)-32:], other.body[len(other.body)-32:])
	return body
}
