package conformance

import (
	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// token returns a key in a security key that nobody has: the public half is that of the key
// called name, ed25519 or p256.
func (r *run) token(name, application, handle string, flags byte) *key {
	of := wire.NewReader(newKey(r.t, name).public)
	of.String() // key type
	var public []byte
	if kindOf(name) == "ed25519" {
		public = wire.AppendString(wire.AppendString(nil, ssh.KeyAlgoSKED25519), of.String())
	} else {
		public = wire.AppendString(wire.AppendString(nil, ssh.KeyAlgoSKECDSA256), of.String())
		public = wire.AppendString(public, of.String())
	}
	public = wire.AppendString(public, application)
	body := append(public[:len(public):len(public)], flags)
	body = wire.AppendString(wire.AppendString(body, handle), "")
	return r.know(&key{name: name + " in a security key", public: public, body: body})
}

// provider is the constraint that names who talks to a security key.
func provider(name string) []byte {
	return constraintExtension("sk-provider@openssh.com", wire.AppendString(nil, name))
}

// aLibrary is a file that belongs to the system, below /usr/lib. No case has it loaded.
const aLibrary = "/usr/lib/os-release"

// tokenCases add keys that are in security keys. test/testdata/agent signs with them.
var tokenCases = []testCase{
	{name: "keys in security keys", do: func(r *run) {
		c := r.dial()
		for _, name := range []string{"ed25519", "p256"} {
			k := r.token(name, "ssh:", "handle", 1)
			c.do("add "+name, add(k))
			c.do("add "+name+", provider internal", add(k, provider("internal")))
			c.do("add "+name+" for an hour", add(k, provider("internal"), lifetime(3600)))
			c.do("list", list())
			c.do("remove "+name, remove(k))
		}
		c.do("add one that needs no touch", add(r.token("ed25519 untouched", "ssh:", "handle", 0)))
		c.do("add one that asks for a PIN", add(r.token("ed25519 verified", "ssh:", "handle", 5)))
		c.do("add one of an application of one's own", add(r.token("ed25519 own", "ssh:own", "handle", 1)))
		c.do("list", list())
		c.do("remove all", []byte{agentcRemoveAll})
		c.do("list when they are gone", list())
	}},
	{name: "providers of security keys", do: func(r *run) {
		c, k := r.dial(), r.token("ed25519", "ssh:", "handle", 1)
		c.do("one of the system", add(k, provider(aLibrary)))
		c.do("one that isn't there", add(k, provider("/usr/lib/nothing.so")))
		c.do("one of another place", add(k, provider("/etc/os-release/../passwd")))
		c.do("one of another place, by way of an allowed one", add(k, provider("/usr/lib/../../etc/passwd")))
		c.do("named twice", add(k, provider("internal"), provider("internal")))
		c.do("no name", add(k, provider("")))
		c.do("a name cut short", add(k, constraintExtension("sk-provider@openssh.com", []byte{0, 0, 0, 9, 'x'})))
		c.do("list", list())
	}},
	{name: "providers of security keys through a forwarded agent", do: func(r *run) {
		k, host := r.token("ed25519", "ssh:", "handle", 1), r.key("ed25519 host")
		bound := r.dial()
		bound.must(bind(r.t, host, sid(1), forwarding))
		bound.do("a library", add(k, provider(aLibrary)))
		bound.do("OpenSSH's own", add(k, provider("internal")))
		bound.do("none named", add(k))
		tried := r.dial()
		tried.do("a bind that fails", bindMessage(host.public, sid(1), nil, 1))
		tried.do("a library after it", add(k, provider(aLibrary)))
		r.dial().do("a library, on this machine", add(k, provider(aLibrary)))
	}},
	{name: "malformed keys in security keys", do: func(r *run) {
		c := r.dial()
		whole := r.token("ed25519", "ssh:", "handle", 1)
		short := func(n int) *key { return &key{name: whole.name, body: whole.body[:n]} }
		c.do("no reserved field", addAs(short(len(whole.body)-4), ""))
		c.do("no flags", addAs(short(len(whole.public)), ""))
		c.do("no handle", add(r.token("ed25519 no handle", "ssh:", "", 1)))
		c.do("no application", add(r.token("ed25519 no application", "", "handle", 1)))
		c.do("a zero byte in the application", add(r.token("ed25519 zero", "ssh:\x00", "handle", 1)))
		c.do("list", list())
	}},
}
